"""Mask R-CNN and Panoptic FPN of mmdetection answer as mmdetection does.

The recorded answers are mmdetection's own; ``record_mmdetection.py`` says with which command they were recorded.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import lively
from mmdetection_weights import lively_state, write_checkpoint
from segopt.merge import merge_panoptic
from segopt_export.card import make_card
from segopt_export.classes import coco_class_lists
from segopt_export.networks.families import MMDETECTION_STYLES, for_panoptic_fusion, rules_of
from segopt_export.networks.table import NETWORKS
from segopt_export.request import ExportRequest
from segopt_export.static.build import build_graph
from segopt_export.static.limits import DetectionLimits
from segopt_export.weights.loading import WeightsRequest, load_weights

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data"
THINGS = 80
INSTANCE = 1000
"""mmdetection writes a segment as its class plus a thousand times its number."""


class Recorded:
    """mmdetection's answers for one checkpoint and picture, and ours for the same file."""

    def __init__(self, name: str, folder: Path, data: Path = DATA) -> None:
        network = name.removesuffix("_caffe")
        content = np.load(data / f"mmdetection_{name}.npz")
        self.theirs = {key: content[key] for key in content.files if not key.startswith("recorded/")}
        self.meta = json.loads(str(self.theirs.pop("meta")))
        shapes = {key: tuple(shape) for key, shape in self.meta["shapes"].items()}
        recorded = {key.removeprefix("recorded/"): content[key] for key in content.files if key.startswith("rec")}
        path = write_checkpoint(folder / "mm.pth", lively_state(shapes, recorded), cfg=self.meta["config"])
        self.trained = load_weights(NETWORKS[network], WeightsRequest(str(path)))
        path.unlink()
        self.image = torch.from_numpy(self.theirs["picture"])[None]
        graph = build_graph(
            {self.trained.network.branch: self.trained}, tuple(self.image.shape[1:3]), DetectionLimits(), "cpu"
        )
        (branch,) = graph.branches
        detector = getattr(branch, "detector", branch)
        self.kept = {}
        detector.proposals.register_forward_hook(lambda *call: self.kept.update(proposals=call[2]))
        if branch is not detector:
            branch.semantic_head.register_forward_hook(lambda *call: self.kept.update(logits=call[2]))
        with torch.no_grad():
            outputs = graph(self.image)
        self.ours = {key: t[0].numpy() for key, t in zip(graph.output_names, outputs, strict=True)}
        boxes, valid, _ = self.kept["proposals"]
        self.ours["proposals"] = boxes[0][valid[0]].numpy()


NAMES = ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_caffe", "panoptic_fpn_resnet50"]


@pytest.fixture(scope="module", params=NAMES)
def recorded(request, tmp_path_factory):
    return Recorded(request.param, tmp_path_factory.mktemp("mmdetection"))


def test_proposals_are_mmdetections(recorded):
    ours, theirs = recorded.ours["proposals"], recorded.theirs["proposals"]
    assert ours.shape == theirs.shape == (1000, 4)
    # Two of equal objectness may change places, so each must have its like.
    distance = np.abs(ours[:, None] - theirs[None]).max(axis=-1)
    assert distance.min(axis=0).max() < 0.01
    assert distance.min(axis=1).max() < 0.01


def test_detections_are_mmdetections(recorded):
    ours, theirs = recorded.ours, recorded.theirs
    count = len(theirs["scores"])
    assert ours["converged"] == 1
    assert (ours["scores"] >= 0).sum() == count > 50
    coco = [entry.id for entry in coco_class_lists("instance")[0]]
    np.testing.assert_array_equal(ours["labels"][:count], [coco[1 + i] for i in theirs["classes"]])
    np.testing.assert_allclose(ours["boxes"][:count], theirs["boxes"], atol=0.01)
    np.testing.assert_allclose(ours["scores"][:count], theirs["scores"], rtol=1e-3)
    # Recorded in half precision.
    np.testing.assert_allclose(ours["masks"][:count], theirs["masks"], atol=2e-3)


def test_the_networks_own_forward_finds_the_same(recorded):
    found = lively.torchvision_detections(recorded.trained.model, recorded.image)[0]
    assert len(found) == len(recorded.theirs["scores"])
    np.testing.assert_allclose(found.boxes, recorded.theirs["boxes"], atol=0.01)
    np.testing.assert_array_equal(found.labels - 1, recorded.theirs["classes"])


def test_masks_are_laid_onto_pixels_as_mmdetection_does(recorded):
    from segopt.masks.paste import paste_masks

    ours, size = recorded.ours, recorded.image.shape[1:3]
    card, _ = make_card(*_request(recorded.trained, size))
    crops = paste_masks(ours["masks"], ours["boxes"], *size, rule=card.mask_paste)
    areas = np.array([crop.mask.sum() for crop in crops])[: len(recorded.theirs["areas"])]
    assert np.abs(areas - recorded.theirs["areas"]).max() <= 3


@pytest.mark.parametrize("recorded", ["panoptic_fpn_resnet50"], indirect=True)
def test_semantic_logits_and_the_panoptic_map_are_mmdetections(recorded):
    ours, theirs = recorded.ours, recorded.theirs
    logits = recorded.kept["logits"][0, :, ::4, ::4].numpy()
    things_first = np.roll(theirs["logits"], 1, axis=0)
    assert np.abs(logits - things_first).max() < 1e-3 * np.abs(things_first).max()

    card, _ = make_card(*_request(recorded.trained, theirs["picture"].shape[:2]))
    segment_map, segments = merge_panoptic(
        *(ours[name] for name in ("boxes", "scores", "labels", "masks", "semantic")),
        card.stuff_classes,
        stuff_area=recorded.meta["stuff_area"],
        paste=card.mask_paste,
    )
    detector, semantic = coco_class_lists("panoptic")
    ids = np.array([entry.id for entry in (*detector[1:], *semantic[1:])] + [0])
    # Class and object of every pixel; void is the class after the last.
    classes, numbers = theirs["panoptic"] % INSTANCE, theirs["panoptic"] // INSTANCE
    by_id = np.zeros(1 + max(s.id for s in segments), dtype=int)
    by_id[[s.id for s in segments]] = [s.category_id for s in segments]
    assert (by_id[segment_map] == ids[classes]).mean() > 0.999
    assert {s.is_thing for s in segments} == {True, False}
    assert sum(s.is_thing for s in segments) == len(np.unique(numbers[numbers > 0]))
    for number in np.unique(numbers[numbers > 0]):
        values, counts = np.unique(segment_map[numbers == number], return_counts=True)
        assert counts.max() >= 0.99 * counts.sum(), (number, values, counts)


def test_the_rules_follow_the_weights(recorded, request):
    style = "caffe" if "caffe" in request.node.callspec.params["recorded"] else "pytorch"
    expected = MMDETECTION_STYLES[style]
    if recorded.trained.network.branch == "panoptic":
        expected = for_panoptic_fusion(expected)
    assert rules_of(recorded.trained.model) == expected
    assert any(f"style {style} " in note for note in recorded.trained.notes)


def _request(trained, size):
    return ExportRequest(trained.network.branch), tuple(size), {trained.network.branch: trained}
