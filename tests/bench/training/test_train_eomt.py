"""EoMT trains on a folder of COCO panoptic data, goes on where it was stopped, and exports."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lively_eomt import TINY, dinov3_config, lively, pixels, write_folder
from segopt.errors import ExportError, SegoptError
from segopt_bench.evaluation import EvaluationError, open_data
from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.training.eomt_folder import write_eomt_folder
from segopt_bench.training.eomt_options import parse
from segopt_bench.training.panoptic_samples import Draw
from segopt_bench.training.query_samples import QuerySamples, collated
from segopt_bench.training.query_training import OnCanvas, for_square, initialize, with_classes
from segopt_bench.training.train_eomt import begun, main, train
from segopt_export.networks.eomt import EoMT, EomtShape
from segopt_export.networks.table import find_network
from segopt_export.weights.eomt import load_eomt
from segopt_export.weights.loading import WeightsRequest

HEIGHT, WIDTH = 64, 96
CLASSES = ["car", "person", "sky", "road"]
SIZES = ["--hidden", 32, "--layers", 3, "--heads", 2, "--blocks", 2, "--queries", 12, "--patch", 8]


def options(folder, output, *more, start="none"):
    arguments = ["--data", folder, "--output", output, "--workers", 0, "--device", "cpu"]
    if start is not None:
        arguments += ["--start", start, "--batch", 2, "--points", 64]
    if start == "none":
        arguments += [*SIZES, "--size", "64x96"]
    return parse([str(a) for a in [*arguments, *more]], None)


def exported(output):
    return load_eomt(find_network("eomt", "panoptic"), WeightsRequest(str(output)))


def test_a_canvas_has_a_picture_s_segments_where_they_are_seen(folder):
    samples = QuerySamples(open_data(folder), (HEIGHT, WIDTH), (1, 1))
    picture, segments = samples[Draw(1, 0)]
    assert picture.shape == (3, HEIGHT, WIDTH)
    assert picture.dtype == torch.uint8
    # Things first; the crowd is left out.
    assert sorted(CLASSES[label] for label in segments.labels) == ["car", "road", "sky"]
    places = dict(zip((CLASSES[label] for label in segments.labels), segments.masks, strict=True))
    assert places["car"].sum() == 24 * 31
    # A car's pixels have one color, blue first in the file; red is 2 more.
    assert set(picture[0][places["car"].bool()].tolist()) == {40 * (300 % 7) + 2}


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_pictures_are_cut_or_lie_on_black(folder, scale):
    samples = QuerySamples(open_data(folder), (HEIGHT, WIDTH), (scale, scale))
    seen = set()
    for seed in range(12):
        picture, segments = samples[Draw(0, seed)]
        assert picture.shape == (3, HEIGHT, WIDTH)
        assert (segments.masks.sum(dim=(1, 2)) > 0).all()
        if scale < 1:
            assert picture[:, HEIGHT // 2 :].max() == picture[:, :, WIDTH // 2 :].max() == 0
            assert segments.masks[:, HEIGHT // 2 :].max() == 0
        seen.add(tuple(segments.masks.sum(dim=(1, 2)).tolist()))
    assert len(seen) > (1 if scale > 1 else 0)
    assert collated([samples[Draw(0, 0)], samples[Draw(1, 1)]])[0].shape == (2, 3, HEIGHT, WIDTH)


def test_a_few_steps_lower_the_loss(folder, tmp_path):
    asked = options(folder, tmp_path / "model", "--rate", 2e-3, "--steps", 60, "--scales", 1, 1)
    samples = QuerySamples(open_data(folder), (HEIGHT, WIDTH), (1, 1))
    training = begun(asked, samples)
    pictures, truth = collated([samples[Draw(0, 0)], samples[Draw(1, 0)]])
    sums = [sum(training.take(pictures, truth, "cpu").values()) for _ in range(25)]
    assert np.mean(sums[-5:]) < 0.7 * np.mean(sums[:5])


@pytest.mark.slow
def test_the_folder_exports_and_transformers_gives_its_answers(folder, tmp_path):
    from transformers import EomtForUniversalSegmentation

    output = tmp_path / "model"
    train(options(folder, output, "--steps", 3, "--rate", 1e-2))
    assert {file.name for file in output.iterdir()} == {
        "checkpoint.pth",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    trained = exported(output)
    assert [(e.name, e.is_thing, e.id) for e in trained.classes] == [
        ("car", True, 7),
        ("person", True, 9),
        ("sky", False, 5),
        ("road", False, 11),
    ]
    assert trained.model.masked == (False, False)
    assert trained.model.shape.side == WIDTH
    theirs = EomtForUniversalSegmentation.from_pretrained(output).eval()
    assert theirs.config.id2label == dict(enumerate(CLASSES))
    images = pixels((WIDTH, WIDTH))
    with torch.no_grad():
        masks, classes = trained.model(images)
        answer = theirs(images)
    for one, other in ((masks, answer.masks_queries_logits), (classes, answer.class_queries_logits)):
        assert (one - other).abs().max() < 1e-4 * other.abs().max()


def test_its_masks_can_be_kept(folder, tmp_path):
    train(options(folder, tmp_path / "model", "--steps", 1, "--keep-masks"))
    assert exported(tmp_path / "model").model.masked == (True, True)


def test_a_folder_that_was_saved_between_is_refused_by_the_export(folder, tmp_path):
    output = tmp_path / "model"
    asked = options(folder, output, "--steps", 4)
    training = begun(asked, QuerySamples(open_data(folder), (64, 96), (1, 1)))
    training.step = 1
    training.save(output)
    with pytest.raises(ExportError, match="training stopped while masks were being annealed"):
        exported(output)


def test_training_goes_on_where_it_was_stopped(folder, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(options(folder, whole, "--steps", 4))
    # As if it had been killed after its second step.
    asked = options(folder, halves, "--steps", 4, "--save-every", 2)
    stop_after(2, asked)
    train(options(folder, halves, "--resume", start=None))
    one, other = (load_file(path / "model.safetensors") for path in (whole, halves))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def stop_after(steps, asked):
    from segopt_bench.training import train_eomt

    class StoppedError(Exception):
        pass

    save = train_eomt.Training.save

    def save_and_stop(self, folder):
        save(self, folder)
        if self.step == steps:
            raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_eomt.Training, "save", save_and_stop)
        with pytest.raises(StoppedError):
            train(asked)


def test_a_folder_is_fine_tuned_for_other_classes(folder, tmp_path, capsys):
    start = write_folder(tmp_path / "start", id2label={str(i): n for i, n in enumerate(["road", *"abcdefghijk"])})
    train(options(folder, tmp_path / "model", "--steps", 1, "--rate", 1e-9, start=start))
    assert "trained anew: car, person, sky" in capsys.readouterr().out
    trained = exported(tmp_path / "model")
    assert [entry.name for entry in trained.classes] == CLASSES
    given, own = lively().state_dict(), trained.model.state_dict()
    assert trained.model.shape.side == TINY.side
    for name in ("query.weight", "layers.1.mlp.fc1.weight", "embeddings.position_embeddings.weight"):
        assert torch.allclose(given[name], own[name], atol=1e-6)
    # "road" and "no object" are what they were.
    weights = given["class_predictor.weight"]
    assert torch.allclose(own["class_predictor.weight"][[3, 4]], weights[[0, 12]], atol=1e-6)


def test_classes_of_the_same_names_keep_their_weights():
    model = lively()
    names = [f"class {i}" for i in range(TINY.classes)]
    assert with_classes(model, names, names, torch.Generator()) is model
    changed = with_classes(model, names, ["new", "class 7"], torch.Generator().manual_seed(0))
    own, given = changed.class_predictor, model.class_predictor
    assert torch.equal(own.weight[[1, 2]], given.weight[[7, 12]])
    assert torch.equal(own.bias[[1, 2]], given.bias[[7, 12]])
    assert not torch.isin(own.weight[0], given.weight).any()


def test_positions_of_a_part_are_trained_and_the_rest_stays():
    model = lively()
    before = model.embeddings.position_embeddings.weight.detach().clone().reshape(8, 8, -1)
    network = OnCanvas(model, (64, 128))
    with torch.no_grad():
        model.embeddings.position_embeddings.weight += 1
    after = network.state()["embeddings.position_embeddings.weight"].reshape(8, 8, -1)
    assert torch.equal(after[:4], before[:4] + 1)
    assert torch.equal(after[4:], before[4:])


def test_positions_are_resized_to_another_square():
    model = for_square(lively(), 192)
    assert (model.shape.side, model.grid) == (192, (12, 12))
    small = lively().embeddings.position_embeddings.weight.mean(dim=0)
    assert torch.allclose(model.embeddings.position_embeddings.weight.mean(dim=0), small, atol=0.05)


@pytest.mark.slow
def test_a_network_on_dinov3_is_written_as_transformers_reads_it(tmp_path):
    from transformers.models.eomt_dinov3 import EomtDinov3ForUniversalSegmentation

    shape = replace(TINY, rope_theta=100.0, key_bias=False)
    model = lively(shape)
    classes = [TruthClass(i, f"class {i}", i < 8) for i in range(shape.classes)]
    write_eomt_folder(tmp_path / "model", shape, model.state_dict(), classes, [0, 0])
    assert (
        dinov3_config(shape).model_type == json.loads((tmp_path / "model/config.json").read_text())["model_type"]
    )
    theirs = EomtDinov3ForUniversalSegmentation.from_pretrained(tmp_path / "model").eval()
    images = pixels((TINY.side, TINY.side))
    with torch.no_grad():
        masks, scores = exported(tmp_path / "model").model(images)
        answer = theirs(images)
    assert (masks - answer.masks_queries_logits).abs().max() < 1e-4 * masks.abs().max()
    assert (scores - answer.class_queries_logits).abs().max() < 1e-4 * scores.abs().max()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--heads", "5"], "--hidden 32 is no multiple of --heads 5"),
        (["--blocks", "9"], "--blocks 9 of --layers 3"),
        (["--patch", "6"], "--patch 6: give 4, 8, 16 or 32"),
        (["--size", "60x96"], "multiples of 32"),
        (["--steps", "0"], "'0' is no whole number from 1"),
        (["--rate", "nan"], "no number above 0"),
        (["--scales", "2", "1"], "the first is the smaller one"),
        (["--device", "cuda:77"], "PyTorch has no 'cuda:77' here; give cpu"),
        (["--resume"], "not allowed with argument --start"),
        (["--start", "nowhere"], "--hidden: the sizes are those of --start nowhere"),
    ],
)
def test_bad_options_are_one_line(folder, tmp_path, capsys, more, message):
    arguments = ["--data", folder, "--output", tmp_path / "model", "--start", "none", *SIZES, *more]
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    said = str(stop.value) if isinstance(stop.value.code, str) else capsys.readouterr().err.strip()
    assert message in said
    assert said.startswith("train_eomt: error: ")
    assert "\n" not in said
    assert not (tmp_path / "model").exists()


def test_settings_are_the_checkpoint_s_on_resume(folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse(["--data", str(folder), "--output", str(tmp_path), "--resume", "--rate", "1e-3"], None)
    assert "--rate: --resume goes on with the settings of its checkpoint" in capsys.readouterr().err


def test_what_cannot_be_trained_is_refused(folder, tmp_path):
    output = tmp_path / "model"
    with pytest.raises(ExportError, match=r"checkpoint\.pth: no such checkpoint"):
        train(options(folder, output, "--resume", start=None))
    train(options(folder, output, "--steps", 1))
    with pytest.raises(ExportError, match=r"holds checkpoint\.pth already; give --resume"):
        train(options(folder, output, "--steps", 1))
    with pytest.raises(ExportError, match="its training is done, after 1 steps"):
        train(options(folder, output, "--resume", start=None))
    (output / "checkpoint.pth").write_bytes(b"bad")
    with pytest.raises(ExportError, match=r"checkpoint\.pth: is damaged"):
        train(options(folder, output, "--resume", start=None))
    with pytest.raises(ExportError, match="nowhere"):
        train(options(folder, tmp_path / "other", start=tmp_path / "nowhere"))
    (folder / "images" / "p0.png").write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match=r"^\S+p0\.png: is damaged or no picture; leave it out$"):
        train(options(folder, tmp_path / "other", "--batch", 3, "--workers", 1))


def test_a_missing_package_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "scipy" else name)
    with pytest.raises(SegoptError, match=r"training EoMT needs scipy, .*: pip install 'segopt\[bench\]'"):
        train(options(folder, tmp_path / "model"))


def test_data_of_other_classes_is_refused_on_resume(folder, tmp_path):
    output = tmp_path / "model"
    asked = options(folder, output, "--steps", 4)
    training = begun(asked, QuerySamples(open_data(folder), (64, 96), (1, 1)))
    training.save(output)
    document = json.loads((folder / "panoptic.json").read_text())
    document["categories"][0]["name"] = "cloud"
    (folder / "panoptic.json").write_text(json.dumps(document))
    with pytest.raises(ExportError, match="has other classes than"):
        train(options(folder, output, "--resume", start=None))


def test_a_network_of_any_sizes_begins():
    shape = EomtShape(hidden=20, layers=2, heads=2, blocks=1, classes=3, queries=4, patch=8, side=64)
    model = EoMT(shape)
    initialize(model, torch.Generator().manual_seed(0))
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
