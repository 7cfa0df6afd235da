"""Where a mask's cells lie on the frame's pixels, along x or y, by the rule that its network was trained with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segopt.card import PasteRule

Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """N intervals of pixels, each with a straight line between its pixels and positions in a mask.

    Positions count cells: 0 is the centre of the mask's first cell, 1 that of the second.
    """

    start: Integers
    """int64 [N]: first pixel of the interval."""
    stop: Integers
    """int64 [N]: the pixel after the last one; not below ``start``."""
    origin: Doubles
    """float64 [N]: the pixel, as a real number, on the edge from which cells are counted."""
    lead: float
    """Cells from that edge to the centre of the mask's first cell."""
    length: Doubles
    cells: Doubles
    """float64 [N]: ``length`` pixels hold ``cells`` cells."""

    def __getitem__(self, some: slice) -> Axis:
        return Axis(
            self.start[some], self.stop[some], self.origin[some], self.lead, self.length[some], self.cells[some]
        )

    def only(self, some: NDArray[np.bool_]) -> Axis:
        """The same intervals, those without ``some`` (bool [N]) empty and at 0."""
        return replace(self, start=self.start * some, stop=self.stop * some)

    @property
    def size(self) -> Integers:
        """int64 [N]: number of pixels."""
        return self.stop - self.start

    def positions(self, i: Integers, pixels: Integers) -> Doubles:
        """float64 [K]: position of pixels [K] of the intervals ``i`` [K]."""
        return (pixels - self.origin[i]) * self.cells[i] / self.length[i] - self.lead

    def pixels(self, i: Integers, positions: Doubles) -> Doubles:
        """float64 [K]: the pixels, as real numbers, at positions [K] of the intervals ``i`` [K]."""
        # The product first, so that the far edge of a box is reached without rounding.
        return (positions + self.lead) * self.length[i] / self.cells[i] + self.origin[i]


def axis(rule: PasteRule, low: Singles, high: Singles, size: int, limit: int) -> Axis:
    """The axis of boxes along x or y.

    Args:
        rule: see :func:`segopt.masks.paste_mask`.
        low: float32 [N], left or upper side of each box, in pixels.
        high: float32 [N], right or lower side.
        size: number of the mask's cells.
        limit: number of the frame's pixels.

    Returns:
        N intervals inside the frame, empty where the box is outside or its sides are no finite numbers.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _RULES[rule](low, high, size, limit)


def _widened_to_pixels(low: Singles, high: Singles, size: int, limit: int) -> Axis:
    # Single precision and truncation towards zero, as torchvision's expand_boxes and its cast to int64 have it.
    half = (high - low) * np.float32(0.5) * np.float32((size + 2) / size)
    center = (high + low) * np.float32(0.5)
    sides = center - half, center + half
    known = np.isfinite(sides).all(axis=0)
    first, last = (np.trunc(np.where(known, side, 0), dtype=np.float64) for side in sides)
    length = np.maximum(last - first + 1, 1)
    # One more cell on each side: the first of them is the one from whose edge cells are counted.
    return Axis(
        *_inside(first, np.where(known, last + 1, first), limit),
        origin=first - 0.5,
        lead=1.5,
        length=np.ones_like(length),
        cells=((size + 2) / length).astype(np.float32).astype(np.float64),
    )


def _exact(low: Singles, high: Singles, size: int, limit: int) -> Axis:
    known = np.isfinite(low) & np.isfinite(high) & (high > low)
    first, last = (np.where(known, side, unknown).astype(np.float64) for side, unknown in ((low, 0), (high, 1)))
    return Axis(
        *_inside(np.floor(first - 0.5), np.where(known, np.ceil(last + 0.5), 0), limit),
        origin=first - 0.5,
        lead=0.5,
        length=last - first,
        cells=np.full(len(first), float(size)),
    )


def _inside(start: Doubles, stop: Doubles, limit: int) -> tuple[Integers, Integers]:
    first, last = (np.clip(side, 0, limit).astype(np.int64) for side in (start, stop))
    return first, np.maximum(first, last)


_RULES: dict[PasteRule, Callable[[Singles, Singles, int, int], Axis]] = {
    "torchvision": _widened_to_pixels,
    "detectron2": _exact,
}
