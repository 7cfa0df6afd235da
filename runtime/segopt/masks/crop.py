"""A mask as the rectangle of the frame that it lies in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segopt.equality import ArrayEquality

BoolImage = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class MaskCrop(ArrayEquality):
    """A mask that is False outside of one rectangle of the frame."""

    x: int
    y: int
    """Column and row of the rectangle's top left pixel."""
    mask: BoolImage
    """bool [h, w], h and w may be 0."""

    def __repr__(self) -> str:
        height, width = self.mask.shape
        return f"MaskCrop(x={self.x}, y={self.y}, {height}x{width}, {self.area} pixels)"

    @property
    def area(self) -> int:
        """Number of True pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the rectangle, to index a frame-sized array."""
        height, width = self.mask.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)

    def on_canvas(self, height: int, width: int) -> BoolImage:
        """The mask as a plane of its own, bool [height, width]."""
        plane = np.zeros((height, width), dtype=np.bool_)
        plane[self.window] = self.mask
        return plane
