"""Panoptic FPN trains on a folder of COCO panoptic data, and goes on where it was stopped."""

import pytest
import torch

from segopt.errors import ExportError
from segopt_bench.evaluation import EvaluationError, open_data
from segopt_bench.training.panoptic_samples import Draw, PanopticSamples, draws
from segopt_bench.training.train_panoptic import parse, schedule, start_from, train
from segopt_export.classes import read_panoptic_classes
from segopt_export.networks.table import NETWORKS
from segopt_export.weights.loading import WeightsRequest, load_weights

pytestmark = pytest.mark.slow

NETWORK = "panoptic_fpn_mobilenet_v3_small"
HEIGHT, WIDTH = 64, 96


def options(folder, output, *more):
    arguments = ["--data", folder, "--output", output, "--network", NETWORK, "--start", "none", "--workers", 0]
    arguments += ["--short-sides", 64, "--batch", 2, "--device", "cpu", *more]
    return parse([str(a) for a in arguments])


def test_targets_say_what_the_annotation_says(folder):
    samples = PanopticSamples(open_data(folder), [HEIGHT], 1000)
    picture, targets = next(s for s in (samples[Draw(1, seed)] for seed in range(9)) if s[1]["boxes"][0, 0] < 48)
    assert picture.shape == (3, HEIGHT, WIDTH)
    assert targets["boxes"].tolist() == [[9, 20, 40, 44]]
    assert targets["labels"].tolist() == [1]
    assert targets["masks"].sum() == 24 * 31
    semantic = targets["semantic"]
    # Nothing, sky, road, a car, a crowd.
    assert [int(semantic[y, x]) for y, x in ((0, 0), (10, 50), (60, 50), (30, 20), (30, 75))] == [255, 1, 2, 0, 0]


def test_pictures_are_mirrored_and_resized_with_their_targets(folder):
    samples = PanopticSamples(open_data(folder), [32, 128], 150)
    sizes, sides = set(), set()
    for seed in range(20):
        picture, targets = samples[Draw(0, seed)]
        sizes.add(tuple(picture.shape[1:]))
        assert targets["masks"].shape[1:] == targets["semantic"].shape == picture.shape[1:]
        x0, y0, x1, y1 = (int(v) for v in targets["boxes"][0])
        assert targets["masks"][0, y0:y1, x0:x1].all()
        sides.add(x0 < picture.shape[2] / 4)
    # The long side is at most 150.
    assert sizes == {(32, 48), (100, 150)}
    assert sides == {True, False}


def test_every_picture_is_seen_once_an_epoch_whenever_one_begins():
    whole = list(draws(5, 2, 0, 10, seed=3))
    assert list(draws(5, 2, 4, 10, seed=3)) == whole[4:]
    flat = [draw.index for batch in whole for draw in batch]
    assert [sorted(flat[i : i + 5]) for i in range(0, 20, 5)] == [list(range(5))] * 4
    assert len({draw.seed for batch in whole for draw in batch}) == 20


def test_training_goes_on_where_it_was_stopped(folder, tmp_path):
    whole, halves = tmp_path / "whole.pth", tmp_path / "halves.pth"
    train(options(folder, whole, "--steps", 2))
    train(options(folder, halves, "--steps", 2, "--save-every", 1))
    # As if it had been killed after the first step.
    state = torch.load(halves, weights_only=True)
    assert state["step"] == 2
    train(options(folder, halves, "--steps", 3, "--resume"))
    resumed = torch.load(halves, weights_only=True)
    assert resumed["step"] == 3
    first = torch.load(whole, weights_only=True)["model"]
    assert all(torch.equal(first[name], tensor) for name, tensor in state["model"].items())
    assert not all(torch.equal(state["model"][name], tensor) for name, tensor in resumed["model"].items())


def test_its_checkpoint_exports_with_its_classes(folder, tmp_path):
    output = tmp_path / "model.pth"
    train(options(folder, output, "--steps", 1))
    trained = load_weights(NETWORKS[NETWORK], WeightsRequest(str(output), tmp_path / "model.json"))
    assert [entry.name for entry in trained.classes] == ["background", "car", "person"]
    assert [(entry.name, entry.id) for entry in trained.semantic_classes] == [
        ("things", None),
        ("sky", 5),
        ("road", 11),
    ]
    with pytest.raises(ExportError, match="2 things and 2 kinds of stuff, and the weights have 3 and 2"):
        read_panoptic_classes(tmp_path / "model.json", (4, 3))


def test_layers_of_other_classes_are_trained_anew(tmp_path, capsys):
    other = NETWORKS[NETWORK].build(6, 3)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    model = NETWORKS[NETWORK].build(3, 3)
    start_from(model, NETWORK, str(tmp_path / "other.pth"))
    assert "roi_heads.box_predictor.cls_score" in capsys.readouterr().out
    assert torch.equal(model.semantic_head.predictor.weight, other.semantic_head.predictor.weight)
    assert torch.equal(model.rpn.head.cls_logits.weight, other.rpn.head.cls_logits.weight)


def test_the_rate_warms_up_and_drops():
    rates = [schedule(step, 90_000) for step in (0, 500, 1000, 69_999, 70_001, 84_000, 89_999)]
    assert rates == pytest.approx([1e-3, 0.5005, 1, 1, 0.1, 0.01, 0.01], rel=1e-3)


def test_data_that_cannot_be_trained_on_is_refused(folder, tmp_path):
    (folder / "images" / "p0.png").write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match=r"p0\.png: is damaged"):
        PanopticSamples(open_data(folder), [64], 100)[Draw(0, 0)]
    with pytest.raises(ExportError, match=r"none\.pth: no such checkpoint"):
        train(options(folder, tmp_path / "none.pth", "--resume"))
    (tmp_path / "bad.pth").write_bytes(b"bad")
    with pytest.raises(ExportError, match=r"bad\.pth: is damaged"):
        train(options(folder, tmp_path / "bad.pth", "--resume"))
    for picture in (folder / "images").iterdir():
        picture.unlink()
    with pytest.raises(EvaluationError, match="none of the pictures"):
        PanopticSamples(open_data(folder), [64], 100)
