"""Accuracy of the demo networks on scenes that they were not trained on: PyTorch, and every file made from it."""

from functools import cache

import pytest

import segopt
from segopt_bench.evaluation import evaluate_engine, open_data
from segopt_bench.pytorch.network import torch_segmenter
from segopt_bench.scenes import Scene, write_dataset

pytestmark = pytest.mark.slow

SCENES = 40
SIZE = (256, 448)
STUFF_AREA = 500
FIGURES = {"panoptic": "PQ", "semantic": "mIoU", "masks": "AP", "boxes": "AP"}
FLOORS = {
    ("panoptic",): {"panoptic": 0.65, "semantic": 0.85, "masks": 0.50, "boxes": 0.50},
    ("semantic", "instance"): {"panoptic": 0.65, "semantic": 0.85, "masks": 0.50, "boxes": 0.50},
}
"""Of 40 scenes; the model card has the figures of 200. Panoptic FPN's semantic head tells kinds of stuff alone."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_dataset(folder, range(SCENES), SIZE)
    return open_data(folder)


class Frames(list):
    """Rendered scenes, which ``repr`` names by their seeds."""

    def __init__(self, seeds):
        super().__init__(Scene(seed).render(*SIZE).frame for seed in seeds)
        self.seeds = seeds

    def __repr__(self):
        return f"Frames({self.seeds})"


def figures(segmenter, data):
    measured = {
        scores.measure: scores.totals.get("classes known to both", scores.totals["all"])
        for scores in evaluate_engine(segmenter, data).scores
    }
    return {measure: measured[measure][name] for measure, name in FIGURES.items()}


@pytest.fixture(scope="module")
def in_pytorch(data, exported):
    def measure(branches):
        with (
            segopt.load(exported("panoptic", branches), device="cpu", stuff_area=STUFF_AREA) as engine,
            torch_segmenter(engine.card, engine.thresholds, {}) as network,
        ):
            return figures(network, data)

    return cache(measure)


@pytest.mark.parametrize("branches", FLOORS, ids="+".join)
def test_the_networks_have_learnt_the_scenes(in_pytorch, branches):
    found, floors = in_pytorch(branches), FLOORS[branches]
    assert {measure: value for measure, value in found.items() if value < floors[measure]} == {}


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({}, 1e-3),
        ({"precision": "fp32", "target": "tensorrt"}, 1e-3),
        ({"precision": "fp16", "target": "cpu"}, 2e-3),
        ({"precision": "int8", "target": "cpu"}, 2e-2),
    ],
    ids=lambda value: "-".join(value.values()) or "default" if isinstance(value, dict) else "",
)
def test_a_file_is_as_accurate_as_pytorch(options, tolerance, data, exported, in_pytorch):
    if options.get("precision") == "int8":
        options = {**options, "calibration": Frames(range(100_000, 100_032))}
    with segopt.load(exported("panoptic", **options), device="cpu", stuff_area=STUFF_AREA) as segmenter:
        found = figures(segmenter, data)
    assert found == pytest.approx(in_pytorch(("panoptic",)), abs=tolerance)
