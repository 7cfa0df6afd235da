"""What is asked of an export: its request, defaults, and the numbers that are possible."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from segopt.errors import ExportError
from segopt.model.card import MAX_SLOTS, Mode
from segopt_export.networks.table import Branch, Network
from segopt_export.precision.calibration import Pictures
from segopt_export.precision.fitting import (
    Precision,
)
from segopt_export.static.limits import DetectionLimits, Target
from segopt_export.weights.loading import WeightsRequest

BRANCHES: dict[Mode, tuple[Branch, ...]] = {
    "semantic": ("semantic",),
    "instance": ("instance",),
    "panoptic": ("semantic", "instance"),
}
"""A panoptic export is of two networks, or of one that names the branch ``panoptic``."""


DEFAULT_NETWORKS: dict[Branch, str] = {
    "semantic": "deeplabv3_mobilenet_v3_large",
    "instance": "maskrcnn_resnet50_fpn",
}


DEFAULT_CANVAS: dict[Mode, tuple[int, int]] = {
    # Frames of 16:9 fill both: torchvision evaluates semantic networks at a short side of 520, detectors at 800
    # by at most 1333.
    "semantic": (512, 896),
    "instance": (800, 1344),
    "panoptic": (800, 1344),
}


DEMO_CANVAS = (256, 448)


STRIDE = 32
"""Sides of a canvas are multiples of this: the networks halve the image five times."""


MAX_SIDE = 8192


MAX_TOP_K = 3840
"""What TensorRT's TopK takes at most."""


@dataclass(frozen=True)
class ExportRequest:
    """What to export; what is None is chosen."""

    mode: Mode
    _: KW_ONLY
    networks: Mapping[Branch, str] = field(default_factory=dict)
    """Names of the table, or import paths to what builds one (``my_project.models:build``)."""
    modules: Mapping[Branch, nn.Module] = field(default_factory=dict)
    """Live networks of the user's own, in place of names; they are copied, not changed."""
    settings: Mapping[Branch, Path | Mapping[str, Any]] = field(default_factory=dict)
    """What weights do not hold, as :func:`segopt_export.networks.settings.settings_of` reads it: a JSON file, or
    what is in it."""
    weights: Mapping[Branch, WeightsRequest] = field(default_factory=dict)
    canvas: tuple[int, int] | None = None
    """Height and width in pixels."""
    batch: int = 1
    limits: DetectionLimits = field(default_factory=DetectionLimits)
    proposals: int | None = None
    """How many of a detector's proposals its box head looks at, ``rpn_post_nms_top_n_test``; None is the network's
    own number."""
    target: Target = "cpu"
    precision: Precision = "fp32"
    calibration: Pictures | None = None
    """Half precision and INT8: the pictures that layers' values are looked at on. Half precision and random
    weights can do with a synthetic one."""
    int8_loss: float | None = None
    """INT8: points of agreement with the file before it is quantized that may be lost; layers are chosen for the
    time that they save. None leaves out each layer that adds much noise."""
    output: Path | None = None


def branches_of(mode: Mode, named: Container[str]) -> tuple[Branch, ...]:
    """The branches of an export; of a panoptic one, those of a fusion unless ``panoptic`` is named."""
    return ("panoptic",) if mode == "panoptic" and "panoptic" in named else BRANCHES[mode]


def canvas_for(networks: Mapping[Branch, Network]) -> tuple[int, int] | None:
    """The canvas that a detector's own sizes ask for: its shortest and its longest side, a picture lying.

    Args:
        networks: by branch.

    Returns:
        Height and width; None where no network says its own.
    """
    for network in networks.values():
        if network.queries is not None:
            return whole_strides(network.queries.side), whole_strides(network.queries.side)
        transform = getattr(network.module, "transform", None)
        if fixed := getattr(transform, "fixed_size", None):
            return whole_strides(fixed[1]), whole_strides(fixed[0])
        shortest = network.settings.get("min_size", getattr(transform, "min_size", None))
        longest = network.settings.get("max_size", getattr(transform, "max_size", None))
        if network.branch != "semantic" and (shortest or longest):
            height, width = DEFAULT_CANVAS[network.branch]
            return whole_strides(shortest[-1]) if shortest else height, whole_strides(longest or width)
    return None


def whole_strides(side: float) -> int:
    """The next multiple of the stride, at most the largest side."""
    return min(MAX_SIDE, math.ceil(side / STRIDE) * STRIDE)


def check_proposals(network: nn.Module, name: str, target: Target) -> None:
    """Hold a detector's numbers of proposals against what TensorRT can sort.

    Raises:
        ExportError: names the number.
    """
    rpn = getattr(network, "rpn", None)
    if target != "tensorrt" or rpn is None:
        return
    for key, count in (
        ("rpn_pre_nms_top_n_test", rpn.pre_nms_top_n()),
        ("rpn_post_nms_top_n_test", rpn.post_nms_top_n()),
    ):
        if count > MAX_TOP_K:
            raise ExportError(
                f"{name}: its {key} is {count}, and TensorRT's TopK takes at most {MAX_TOP_K}; give less with "
                "--settings, or export with --target cpu"
            )


def check_queries(request: ExportRequest, networks: Mapping[Branch, Network]) -> None:
    """Hold a request against what query networks can be exported as.

    Raises:
        ExportError: names the option.
    """
    limits = request.limits
    of_queries = [network.name for network in networks.values() if network.queries is not None]
    if not of_queries:
        if limits.map_scale != 1:
            raise ExportError(f"map scale is {limits.map_scale}, and is for query networks alone; leave it out")
        return
    if len(networks) > 1:
        raise ExportError(
            f"{of_queries[0]}: a query network is not fused with another; export it with --network alone, which "
            "gives a panoptic file of its own"
        )
    if limits.map_scale != 1 and request.mode != "panoptic":
        raise ExportError(f"map scale is {limits.map_scale}, and is for panoptic exports alone; leave it out")
    if (limits.max_detections or 1) > MAX_SLOTS:
        raise ExportError(
            f"max detections is {limits.max_detections}, and a query network keeps at most {MAX_SLOTS}; give less"
        )
    if limits.map_scale not in (1, 2):
        raise ExportError(f"map scale is {limits.map_scale}, and must be 1 or 2")


def check_numbers(
    canvas: tuple[int, int], batch: int, limits: DetectionLimits, proposals: int | None = None
) -> None:
    """Hold the numbers of a request against what a static graph can be.

    Raises:
        ExportError: names the number, and what it can be.
    """
    for name, side in zip(("height", "width"), canvas, strict=True):
        if side % STRIDE or not STRIDE <= side <= MAX_SIDE:
            near = min(max(STRIDE, round(side / STRIDE) * STRIDE), MAX_SIDE)
            raise ExportError(f"{name} {side} is not a multiple of {STRIDE} up to {MAX_SIDE}; try {near}")
    if proposals is not None and not 1 <= proposals <= MAX_TOP_K:
        raise ExportError(f"proposals is {proposals}, and must be from 1 to {MAX_TOP_K} (TensorRT's TopK)")
    if not 1 <= batch <= 64:
        raise ExportError(f"batch is {batch}, and must be from 1 to 64")
    if limits.max_detections is not None and not 1 <= limits.max_detections <= limits.candidates:
        raise ExportError(f"max detections is {limits.max_detections}, and must be from 1 to {limits.candidates}")
    if not 1 <= limits.candidates <= MAX_TOP_K:
        raise ExportError(
            f"candidates is {limits.candidates}, and must be from 1 to {MAX_TOP_K} (TensorRT's TopK)"
        )
    if not 1 <= limits.suppression_steps <= 1000:
        raise ExportError(f"suppression steps is {limits.suppression_steps}, and must be from 1 to 1000")
