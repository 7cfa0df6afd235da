"""Trained networks into one static module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from segopt.model.card import IMAGENET_MEAN, IMAGENET_STD
from segopt_export.classes import label_ids
from segopt_export.networks.table import Branch
from segopt_export.static.graph import GraphBranch, Normalize, SegmentationGraph
from segopt_export.static.limits import DetectionLimits, Target
from segopt_export.static.maskrcnn import StaticMaskRCNN
from segopt_export.static.panoptic_fpn import StaticPanopticFPN
from segopt_export.static.semantic import StaticSemantic
from segopt_export.weights.loading import Trained


def build_graph(
    trained: Mapping[Branch, Trained], canvas: tuple[int, int], limits: DetectionLimits, target: Target
) -> SegmentationGraph:
    """The static module of one or two networks behind one ``image``."""
    makers: dict[Branch, Callable[..., GraphBranch]] = {
        "semantic": lambda model, label_ids: StaticSemantic(model),  # noqa: ARG005
        "instance": partial(StaticMaskRCNN, canvas=canvas, limits=limits, target=target),
        "panoptic": partial(StaticPanopticFPN, canvas=canvas, limits=limits, target=target),
    }
    branches = [
        makers[branch](network.model, label_ids=label_ids(network.classes)) for branch, network in trained.items()
    ]
    return SegmentationGraph(Normalize(IMAGENET_MEAN, IMAGENET_STD), branches).eval()
