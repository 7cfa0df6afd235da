"""Boxes of mmdetection's and Detectron2's networks, held against the formulas of their own sources."""

import math

import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign, nms

from segopt_export.networks.box_rules import ClassAgnosticRoIHeads, TwoSidedBoxCoder
from segopt_export.networks.maskrcnn_resnet import ANCHOR_SIZES, ASPECT_RATIOS, ExactAnchorGenerator
from segopt_export.static.boxes import decode_boxes
from segopt_export.static.detections import DetectionStage
from segopt_export.static.suppression import suppress

CANVAS = (96, 128)
CLASSES = 5


def random_boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 60
    return torch.cat((corner, corner + 4 + 40 * torch.rand(count, 2, generator=generator)), dim=1)


@pytest.mark.parametrize("canvas", [(800, 1344), (160, 224), (32, 64)])
def test_anchors_lie_a_levels_own_stride_apart(canvas):
    sizes = [(math.ceil(canvas[0] / 2**k), math.ceil(canvas[1] / 2**k)) for k in range(2, 7)]
    generator = ExactAnchorGenerator(ANCHOR_SIZES, (ASPECT_RATIOS,) * 5)
    (anchors,) = generator(
        ImageList(torch.empty(1, 3, *canvas), [canvas]), [torch.empty(1, 1, *size) for size in sizes]
    )
    counts = [3 * height * width for height, width in sizes]
    for level, (found, size) in enumerate(zip(anchors.split(counts), sizes, strict=True)):
        # mmdet/models/task_modules/prior_generators/anchor_generator.py: scales of 8, offset 0, rows of cells.
        stride = 4 * 2**level
        h_ratio = torch.tensor(ASPECT_RATIOS).sqrt()
        base = torch.stack(
            (-8 * stride / h_ratio, -8 * stride * h_ratio, 8 * stride / h_ratio, 8 * stride * h_ratio)
        )
        y, x = torch.meshgrid(*(stride * torch.arange(n) for n in size), indexing="ij")
        shift = torch.stack((x, y, x, y), dim=-1).reshape(-1, 1, 4)
        torch.testing.assert_close(found, (shift + base.T / 2).reshape(-1, 4), rtol=0, atol=1e-3)


def test_boxes_shrink_no_further_than_they_grow():
    # delta2bbox of mmdet/models/task_modules/coders/delta_xywh_bbox_coder.py, without means and deviations.
    boxes = random_boxes(50, 0)
    deltas = 8 * torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    limit = abs(math.log(16 / 1000))
    center, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    expected = []
    for given in deltas.split(4, dim=1):
        at = center + size * given[:, :2] / 10
        half = size * (given[:, 2:] / 5).clamp(-limit, limit).exp() / 2
        expected.append(torch.cat((at - half, at + half), dim=1))
    weights = (10.0, 10.0, 5.0, 5.0)
    coder = TwoSidedBoxCoder(weights)
    deltas[0, 2:4] = torch.tensor([-100.0, 100.0])
    expected[0][0, [0, 2]] = center[0, 0] + size[0, 0] * (deltas[0, 0] / 10 + torch.tensor([-0.5, 0.5]) / 62.5)
    expected[0][0, [1, 3]] = center[0, 1] + size[0, 1] * (deltas[0, 1] / 10 + torch.tensor([-0.5, 0.5]) * 62.5)
    torch.testing.assert_close(
        coder.decode_single(deltas, boxes), torch.cat(expected, dim=1), rtol=1e-4, atol=1e-3
    )
    static = decode_boxes(deltas[:, :4], boxes, weights=weights, clip=coder.bbox_xform_clip, two_sided=True)
    torch.testing.assert_close(static, expected[0], rtol=1e-4, atol=1e-3)


@pytest.fixture
def heads():
    pool = MultiScaleRoIAlign(["0"], 7, 2)
    plain = RoIHeads(pool, None, None, 0.5, 0.5, 512, 0.25, None, 0.3, 0.5, 30)
    return ClassAgnosticRoIHeads.of(plain)


def test_detections_suppress_those_of_other_classes(heads):
    proposals = random_boxes(200, 2)
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(200, CLASSES, generator=generator)
    deltas = torch.randn(200, 4 * CLASSES, generator=generator)
    boxes, scores, labels = (
        part[0] for part in heads.postprocess_detections(logits, deltas, [proposals], [CANVAS])
    )

    decoded = heads.box_coder.decode(deltas, [proposals])
    limit = torch.tensor([CANVAS[1], CANVAS[0]] * 2)
    pair = (logits.softmax(1)[:, 1:] > 0.3).nonzero() + torch.tensor([0, 1])
    candidates = torch.minimum(decoded[pair[:, 0], pair[:, 1]].clamp(min=0), limit)
    sure = logits.softmax(1)[pair[:, 0], pair[:, 1]]
    keep = nms(candidates, sure, 0.5)[:30]
    torch.testing.assert_close(boxes, candidates[keep])
    torch.testing.assert_close(scores, sure[keep])
    assert labels.tolist() == pair[keep, 1].tolist()
    assert len(labels.unique()) > 2

    stage = DetectionStage(
        heads,
        CANVAS,
        max_detections=30,
        candidates=600,
        suppress=lambda *given, **options: suppress(*given, **options, steps=30),
    )
    found, found_scores, found_labels, converged = stage(
        logits, deltas, proposals[None], torch.ones(1, 200, dtype=torch.bool)
    )
    used = found_scores[0] >= 0
    assert converged.all()
    torch.testing.assert_close(found[0][used], boxes)
    assert found_labels[0][used].tolist() == labels.tolist()
