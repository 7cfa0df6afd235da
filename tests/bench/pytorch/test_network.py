"""``--against torch``: the network that a card names, by the same steps as the engine."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch

from segopt.model.card import WeightsOrigin
from segopt.model.tensors import output_specs
from segopt.segmenter import load
from segopt.thresholds import Thresholds
from segopt_bench.evaluation import EvaluationError, evaluate_engine, open_data
from segopt_bench.pytorch import network as torch_network
from segopt_bench.pytorch.network import torch_segmenter
from segopt_export.card import make_card
from segopt_export.classes import default_classes
from segopt_export.exporter import export
from segopt_export.networks.table import DEMO_NETWORKS, find_network
from segopt_export.request import ExportRequest
from segopt_export.static.limits import DetectionLimits
from segopt_export.weights.loading import Trained, WeightsRequest, load_weights
from segopt_export.weights.random import random_picture

pytestmark = pytest.mark.slow

CANVAS = (64, 96)
LIMITS = Thresholds(0.5, 0.5, 64)
SEMANTIC = find_network(DEMO_NETWORKS["semantic"], "semantic")
INSTANCE = find_network(DEMO_NETWORKS["instance"], "instance")


@pytest.fixture(scope="module")
def semantic_card():
    asked = ExportRequest("semantic", canvas=CANVAS)
    return make_card(asked, CANVAS, {"semantic": load_weights(SEMANTIC, WeightsRequest("demo"))})[0]


def test_engine_and_network_agree(tmp_path):
    weights = {"semantic": WeightsRequest("demo")}
    made = export(ExportRequest("semantic", weights=weights, canvas=CANVAS, output=tmp_path / "demo.onnx"))
    names = [category.name for category in made.card.categories["semantic"]]
    data = tmp_path / "data"
    for name in ("images", "semantic"):
        (data / name).mkdir(parents=True)
    (data / "classes.json").write_text(json.dumps(names), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    for i in range(2):
        frame = random_picture((80, 100), generator=generator).permute(1, 2, 0).numpy()
        cv2.imwrite(str(data / "images" / f"{i}.png"), (255 * frame).astype(np.uint8))
        indices = rng.integers(0, len(names), (80, 100)).astype(np.uint8)
        cv2.imwrite(str(data / "semantic" / f"{i}.png"), indices)
    with load(made.path, device="cpu") as engine:
        network = torch_segmenter(engine.card, engine.thresholds, {})
        (own,), (other,) = (evaluate_engine(each, open_data(data)).scores for each in (engine, network))
    assert own.totals["all"]["pixel accuracy"] > 0
    for figure, difference in own.minus(other).totals["all"].items():
        assert abs(difference) < 1e-3, figure


def test_a_panoptic_card_gives_both_networks_and_the_contract(monkeypatch):
    # The detector is untrained: the random weights of `export` are calibrated, which takes seconds.
    classes = default_classes(INSTANCE)
    untrained = Trained(
        INSTANCE, INSTANCE.build(len(classes)), classes, True, WeightsOrigin("random (seed 0)", "0" * 64)
    )
    trained = {"semantic": load_weights(SEMANTIC, WeightsRequest("demo")), "instance": untrained}
    asked = ExportRequest("panoptic", canvas=CANVAS, limits=DetectionLimits(max_detections=10))
    card, _ = make_card(asked, CANVAS, trained)
    monkeypatch.setattr(torch_network, "load_any", lambda network, *_: trained[network.branch])
    with torch_segmenter(card, LIMITS, {}) as network:
        image = np.zeros((1, *CANVAS, 3), np.uint8)
        outputs = network.backend.infer({"image": image})
        assert outputs.keys() == output_specs(card).keys()
        for name, spec in output_specs(card).items():
            assert (outputs[name].dtype, outputs[name].shape) == (spec.dtype, spec.shape)


def test_weights_from_a_file_are_asked_for_by_name(semantic_card):
    card = dataclasses.replace(semantic_card, weights={"semantic": WeightsOrigin("mine.pth", "0" * 64)})
    with pytest.raises(EvaluationError, match=r"came from the file mine.pth; give it with --weights mine.pth"):
        torch_segmenter(card, LIMITS, {})


def test_weights_that_are_not_the_cards_are_refused(semantic_card, tmp_path):
    file = tmp_path / "mine.pth"
    torch.save(SEMANTIC.build(14).state_dict(), file)
    with pytest.raises(EvaluationError, match=r"mine.pth: are not the semantic weights .* exported from"):
        torch_segmenter(semantic_card, LIMITS, {"semantic": file})
