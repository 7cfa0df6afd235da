"""What is asked of a wrap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from segopt.errors import UsageError
from segopt.model.card import IMAGENET_MEAN, IMAGENET_STD, BoxPaste, Mode, ResizeRule

Kind = Literal["semantic-logits", "semantic-map", "detr-masks", "maskrcnn", "yolo-seg"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MODE_OF: Mapping[Kind, Mode] = {
    "semantic-logits": "semantic",
    "semantic-map": "semantic",
    "detr-masks": "instance",
    "maskrcnn": "instance",
    "yolo-seg": "instance",
}
Colors = Literal["rgb", "bgr"]
Scores = Literal["sigmoid", "softmax"]
Precision = Literal["fp32", "fp16", "int8"]
_MOST_PIXELS = 1 << 26
MOST_CANDIDATES = 3840
"""What TensorRT's TopK takes at most."""

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "rfdetr": {
        "kind": "detr-masks",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "colors": "rgb",
        "resize": "stretch",
        "scores": "sigmoid",
    },
    "ultralytics": {
        "kind": "yolo-seg",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "colors": "rgb",
        "resize": "letterbox",
        "padding": (114, 114, 114),
    },
}
"""By family, what its files do not say of themselves, as members of a request."""


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """How detections are taken from a network's answer."""

    max_detections: int = 100
    scores: Scores | None = None
    """detr-masks: what makes scores of class logits; None is sigmoid, and is said."""
    paste: BoxPaste = "torchvision"
    """maskrcnn: how masks are laid onto pixels."""
    iou: float = 0.7
    """yolo-seg: a box goes that overlaps a better one of its class by more than this."""
    least_score: float = 0.05
    """yolo-seg: boxes of lower scores do not enter suppression."""
    candidates: int = 1000
    """yolo-seg: so many boxes enter suppression."""
    suppression_steps: int = 20

    def check(self) -> None:
        """Find out what cannot be.

        Raises:
            UsageError: a number is out of range.
        """
        for name, value, most in (
            ("max detections", self.max_detections, self.candidates),
            ("candidates", self.candidates, MOST_CANDIDATES),
            ("suppression steps", self.suppression_steps, 1000),
        ):
            if not 1 <= value <= most:
                raise UsageError(f"{name} {value}: give 1 to {most}")
        for name, share in (("iou", self.iou), ("least score", self.least_score)):
            if not 0 < share < 1:
                raise UsageError(f"{name} {share:g}: give a number between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class WrapRequest:
    """A file of another maker, and what it does not say of itself."""

    model: Path
    classes: Path
    """JSON: a list of names, or COCO's categories."""
    kind: Kind | None = None
    """None: what the outputs' names and shapes say."""
    take: Mapping[str, str] = field(default_factory=dict)
    """Part of the answer to the output that holds it; of a kind with one output the part is ``answer``."""
    size: tuple[int, int] | None = None
    """Canvas, height and width in pixels; None is the size of the network's input."""
    network_size: tuple[int, int] | None = None
    """Height and width of the network's input, where the file leaves them free; None is the canvas."""
    batch: int = 1
    mean: tuple[float, float, float] | None = None
    """RGB, of pixels scaled to 0..1; None is ImageNet's, and is said."""
    std: tuple[float, float, float] | None = None
    colors: Colors | None = None
    """The order in which the network takes them; None is RGB, and is said."""
    resize: ResizeRule | None = None
    """How frames are brought to the canvas; None is letterbox, and is said where instances are found."""
    padding: tuple[int, int, int] | None = None
    """RGB, 0 to 255, beside a letterboxed frame; None is the mean."""
    detections: DetectionOptions = field(default_factory=DetectionOptions)
    precision: Precision = "fp32"
    calibration: str | None = None
    """Pictures on which the file is checked; in half precision the network's values are looked at on them, and
    INT8 takes its scales from them."""
    int8_loss: float | None = None
    """INT8: points of agreement that may be lost; None leaves out each layer that adds much noise."""
    target: Literal["cpu", "tensorrt"] = "cpu"
    output: Path | None = None

    @property
    def normalization(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and standard deviation, RGB."""
        return self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD

    def check(self) -> None:
        """Find out what cannot be.

        Raises:
            UsageError: a number is out of range.
        """
        if not 1 <= self.batch <= 256:
            raise UsageError(f"batch {self.batch}: give 1 to 256")
        for name, size in (("size", self.size), ("network size", self.network_size)):
            if size is not None and not (min(size) >= 1 and size[0] * size[1] <= _MOST_PIXELS):
                raise UsageError(f"{name} {size[0]}x{size[1]}: give height and width in pixels, such as 512x1024")
        mean, std = self.normalization
        if not all(0 <= value <= 1 for value in mean):
            raise UsageError(f"mean {_numbers(mean)}: of pixels scaled to 0..1, so give numbers from 0 to 1")
        if not all(0 < value <= 1 for value in std):
            raise UsageError(f"std {_numbers(std)}: of pixels scaled to 0..1, so give numbers above 0, up to 1")
        if self.padding is not None and not all(0 <= level <= 255 for level in self.padding):
            raise UsageError(f"padding {_numbers(self.padding)}: give three whole numbers from 0 to 255")
        if self.precision == "int8" and self.calibration is None:
            raise UsageError(
                "INT8 takes its scales from pictures: give --calibration PICTURES, a few dozen like the later ones"
            )
        self.detections.check()


def _numbers(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
