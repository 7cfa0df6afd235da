"""Masks over the whole canvas onto a frame's pixels: what networks without boxes' own masks give.

Such a mask has many cells, of which few matter: those that the object's pixels lie between. Each mask is read
there alone, in a window of its cells. Windows of like size are worked together as masks in boxes are, so that the
cost goes with the objects' sizes and not with the canvas's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segopt.masks.bitmask import Bitmask
from segopt.masks.placement import Axis, Doubles, Integers
from segopt.masks.rasterize import rasterize

_SMALLEST_WINDOW = 8
_MOST_CELLS = 2**21
"""Cells of the windows that are copied at once."""


def paste_on_canvas(
    masks: NDArray[np.floating],
    boxes: NDArray[np.floating] | None,
    frame: tuple[int, int],
    extent: tuple[float, float],
    *,
    threshold: float = 0.5,
    grid: int = 1,
) -> Iterator[Bitmask]:
    """Lay masks onto a frame: bilinear between centers of cells, the outermost cells' values beyond them.

    Args:
        masks: [N, h, w] logits.
        boxes: [N, 4] x0, y0, x1, y1 in frame pixels; a pixel whose column is x0 or more and below x1, and rows
            alike, is inside. None cuts nothing.
        frame: height and width in pixels.
        extent: height and width of the canvas in frame pixels; the frame lies at its top left.
        threshold: a pixel belongs to the object from this probability on.
        grid: the crops' first column is a multiple of it.

    Yields:
        The object's pixels, in the order of the masks.
    """
    with np.errstate(divide="ignore"):
        level = np.float32(np.log(threshold) - np.log1p(-threshold)) if threshold < 1 else np.float32(np.inf)
    masks = np.asarray(masks, dtype=np.float32)
    steps = [side / cells for side, cells in zip(extent, masks.shape[1:], strict=True)]
    if boxes is None:
        above = masks >= level
        lows, highs = zip(
            *(
                _around(above.any(axis=axis), step, limit)
                for axis, step, limit in zip((2, 1), steps, frame, strict=True)
            ),
            strict=True,
        )
    else:
        x0, y0, x1, y1 = np.ceil(np.asarray(boxes, dtype=np.float64)).T
        lows, highs = (y0, x0), (y1, x1)
    down, across = (
        _axis(low, high, step, limit) for low, high, step, limit in zip(lows, highs, steps, frame, strict=True)
    )
    seen = (down.size > 0) & (across.size > 0)
    down, across = down.only(seen), across.only(seen)
    rows, columns = _first_cells(down), _first_cells(across)
    cells = np.maximum(_last_cells(down) - rows, _last_cells(across) - columns) + 1
    sides = _window_sides(cells, most=max(masks.shape[1:]) + 2)
    found: dict[int, Bitmask] = {}
    for side in np.unique(sides).tolist():
        alike = np.flatnonzero(sides == side)
        many = max(1, _MOST_CELLS // side**2)
        for some in (alike[start : start + many] for start in range(0, len(alike), many)):
            windows = _windows(masks, some, rows[some], columns[some], side)
            # What is to be crossed is one half, where it was the level.
            windows += np.float32(0.5) - level
            crops = rasterize(
                windows,
                _read_from(down, some, rows[some]),
                _read_from(across, some, columns[some]),
                threshold=0.5,
                grid=grid,
            )
            found.update(zip(some.tolist(), crops, strict=True))
    for i in range(len(masks)):
        yield found.pop(i)


def _around(some: NDArray[np.bool_], step: float, limit: int) -> tuple[Doubles, Doubles]:
    """First pixel of the object, at the earliest, and the one after its last, at the latest.

    Args:
        some: bool [N, M], whether anything of a row of cells is above the threshold.
        step: pixels from one cell to the next.
        limit: number of the frame's pixels.
    """
    size = some.shape[1]
    first, last = some.argmax(axis=1), size - 1 - some[:, ::-1].argmax(axis=1)
    low = np.where(first > 0, np.floor((first - 0.5) * step - 0.5), 0)
    high = np.where(last < size - 1, np.ceil((last + 1.5) * step - 0.5) + 1, limit)
    return low, np.where(some.any(axis=1), high, 0)


def _axis(low: Doubles, high: Doubles, step: float, limit: int) -> Axis:
    known = np.isfinite(low) & np.isfinite(high)
    start, stop = (np.clip(np.where(known, side, 0), 0, limit).astype(np.int64) for side in (low, high))
    return Axis(start, np.maximum(start, stop), np.full(len(start), 0.5 * step - 0.5), np.full(len(start), step))


def _first_cells(axis: Axis) -> Integers:
    """int64 [N]: the last cell whose center is not after the first pixel; -1 where it is before all centers."""
    return np.floor((axis.start - axis.first) / axis.step).astype(np.int64)


def _last_cells(axis: Axis) -> Integers:
    """int64 [N]: the first cell whose center is not before the last pixel."""
    return np.ceil((axis.stop - 1 - axis.first) / axis.step).astype(np.int64)


def _window_sides(cells: Integers, most: int) -> Integers:
    """int64 [N]: the next power of two, or the whole mask with the cells around it."""
    powers = np.ceil(np.log2(np.maximum(cells, _SMALLEST_WINDOW)))
    return np.minimum((2**powers).astype(np.int64), max(most, _SMALLEST_WINDOW))


def _windows(
    masks: NDArray[np.float32], some: Integers, rows: Integers, columns: Integers, side: int
) -> NDArray[np.float32]:
    """float32 [K, side, side]: cells of masks from these on; beyond a mask its outermost cells are repeated."""
    offsets = np.arange(side)
    row = np.clip(rows[:, None] + offsets, 0, masks.shape[1] - 1)
    column = np.clip(columns[:, None] + offsets, 0, masks.shape[2] - 1)
    cells: NDArray[np.float32] = masks[some[:, None, None], row[:, :, None], column[:, None, :]]
    return cells


def _read_from(axis: Axis, some: Integers, cells: Integers) -> Axis:
    """Some of the intervals, their masks beginning with these cells."""
    step = axis.step[some]
    return Axis(axis.start[some], axis.stop[some], axis.first[some] + cells * step, step)
