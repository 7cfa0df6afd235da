"""What is asked of a wrap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segopt.errors import UsageError
from segopt.model.card import IMAGENET_MEAN, IMAGENET_STD

Kind = Literal["semantic-logits", "semantic-map"]
KINDS: tuple[Kind, ...] = ("semantic-logits", "semantic-map")
Colors = Literal["rgb", "bgr"]
_MOST_PIXELS = 1 << 26


@dataclass(frozen=True, kw_only=True)
class WrapRequest:
    """A file of another maker, and what it does not say of itself."""

    model: Path
    classes: Path
    """JSON: a list of names, or COCO's categories."""
    kind: Kind | None = None
    """None: what the outputs' shapes say."""
    take: str | None = None
    """Name of the output to take, where several could be meant."""
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


def _numbers(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
