"""Where a mask's cells lie on the frame's pixels, along x or y, by the rule that its network was trained with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segopt.model.card import BoxPaste

Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """N intervals of pixels, each with the cells of a mask along it."""

    start: Integers
    """int64 [N]: first pixel of the interval."""
    stop: Integers
    """int64 [N]: the pixel after the last one; not below ``start``."""
    first: Doubles
    """float64 [N]: the pixel, as a real number, at the center of the mask's first cell."""
    step: Doubles
    """float64 [N]: pixels from one cell to the next."""

    def __getitem__(self, some: slice) -> Axis:
        return Axis(self.start[some], self.stop[some], self.first[some], self.step[some])

    def only(self, some: NDArray[np.bool_]) -> Axis:
        """The same intervals, those without ``some`` (bool [N]) empty and at 0."""
        return replace(self, start=self.start * some, stop=self.stop * some)

    def seen_from(self, pixels: Integers) -> Axis:
        """The same intervals, counted from pixels [N]."""
        return Axis(self.start - pixels, self.stop - pixels, self.first - pixels, self.step)

    @property
    def size(self) -> Integers:
        """int64 [N]: number of pixels."""
        return self.stop - self.start


def axis(rule: BoxPaste, low: Singles, high: Singles, size: int, limit: int) -> Axis:
    """The axis of boxes along x or y.

    Args:
        rule: see :func:`segopt.masks.paste.paste_mask`.
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
    step = 1 / ((size + 2) / length).astype(np.float32).astype(np.float64)
    # The box has one more cell on each side.
    return Axis(*_inside(first, np.where(known, last + 1, first), limit), first - 0.5 + 1.5 * step, step)


def _exact(low: Singles, high: Singles, size: int, limit: int) -> Axis:
    known = np.isfinite(low) & np.isfinite(high) & (high > low)
    first, last = (np.where(known, side, unknown).astype(np.float64) for side, unknown in ((low, 0), (high, 1)))
    inside = _inside(np.floor(first - 0.5), np.where(known, np.ceil(last + 0.5), 0), limit)
    step = (last - first) / size
    return Axis(*inside, first - 0.5 + 0.5 * step, step)


def _inside(start: Doubles, stop: Doubles, limit: int) -> tuple[Integers, Integers]:
    first, last = (np.clip(side, 0, limit).astype(np.int64) for side in (start, stop))
    return first, np.maximum(first, last)


_RULES: dict[BoxPaste, Callable[[Singles, Singles, int, int], Axis]] = {
    "torchvision": _widened_to_pixels,
    "detectron2": _exact,
}
