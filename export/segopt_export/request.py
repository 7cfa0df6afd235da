"""What is asked of an export: its request, defaults, and the numbers that are possible."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segopt.errors import ExportError
from segopt.model.card import Mode
from segopt_export.networks.table import Branch
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


@dataclass(frozen=True)
class ExportRequest:
    """What to export; what is None is chosen."""

    mode: Mode
    networks: Mapping[Branch, str] = field(default_factory=dict)
    weights: Mapping[Branch, WeightsRequest] = field(default_factory=dict)
    canvas: tuple[int, int] | None = None
    """Height and width in pixels."""
    batch: int = 1
    limits: DetectionLimits = field(default_factory=DetectionLimits)
    target: Target = "cpu"
    precision: Precision = "fp32"
    calibration: Pictures | None = None
    """Half precision and INT8: the pictures that layers' values are looked at on. Half precision and random
    weights can do with a synthetic one."""
    output: Path | None = None


def branches_of(mode: Mode, named: Container[str]) -> tuple[Branch, ...]:
    """The branches of an export; of a panoptic one, those of a fusion unless ``panoptic`` is named."""
    return ("panoptic",) if mode == "panoptic" and "panoptic" in named else BRANCHES[mode]


def check_numbers(canvas: tuple[int, int], batch: int, limits: DetectionLimits) -> None:
    """Hold the numbers of a request against what a static graph can be.

    Raises:
        ExportError: names the number, and what it can be.
    """
    for name, side in zip(("height", "width"), canvas, strict=True):
        if side % STRIDE or not STRIDE <= side <= MAX_SIDE:
            near = min(max(STRIDE, round(side / STRIDE) * STRIDE), MAX_SIDE)
            raise ExportError(f"{name} {side} is not a multiple of {STRIDE} up to {MAX_SIDE}; try {near}")
    if not 1 <= batch <= 64:
        raise ExportError(f"batch is {batch}, and must be from 1 to 64")
    if not 1 <= limits.max_detections <= limits.candidates:
        raise ExportError(f"max detections is {limits.max_detections}, and must be from 1 to {limits.candidates}")
    if not 1 <= limits.candidates <= 3840:
        raise ExportError(f"candidates is {limits.candidates}, and must be from 1 to 3840 (TensorRT's TopK)")
    if not 1 <= limits.suppression_steps <= 1000:
        raise ExportError(f"suppression steps is {limits.suppression_steps}, and must be from 1 to 1000")
