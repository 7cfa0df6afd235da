"""Masks of cells into bits of pixels.

Only outlines are computed (:mod:`segopt.masks.marching_squares`); what is inside is filled in, eight pixels to a
byte. Masks are worked in batches, so that the buffers are of some megabytes whatever the number of masks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segopt.masks.bitmask import Bitmask, fill_runs
from segopt.masks.marching_squares import outlines
from segopt.masks.placement import Axis, Integers

_BATCH = 2**24
"""Bytes of a batch's buffers, roughly."""
_BYTES_OF_CELL, _BYTES_OF_ROW = 32, 200


def rasterize(
    masks: NDArray[np.floating], down: Axis, across: Axis, *, threshold: float, grid: int = 1
) -> Iterator[Bitmask]:
    """The pixels of masks, bilinear between cells and 0 outside.

    Args:
        masks: [N, M, M].
        down: where their cells lie along y, and which pixels are made.
        across: along x.
        threshold: a pixel belongs to the object from this value on.
        grid: the crops' first column is a multiple of it.
    """
    size = masks.shape[1]
    seen = (down.size > 0) & (across.size > 0)
    down, across = down.only(seen), across.only(seen)
    column = across.start // grid * grid
    pitch = (across.stop - column + 7) // 8
    heights, bytes_ = down.size, down.size * pitch
    across = across.seen_from(column)
    corners = zip(column.tolist(), down.start.tolist(), across.stop.tolist(), strict=True)
    shapes = zip(heights.tolist(), pitch.tolist(), strict=True)
    for some in _batches(_BYTES_OF_CELL * size * size + _BYTES_OF_ROW * heights + bytes_):
        edges = outlines(masks[some], down[some], across[some], threshold)
        row_pitch = np.repeat(pitch[some], heights[some])
        ends = np.cumsum(row_pitch)
        bit = edges.column + (8 * (ends - row_pitch)).take(edges.row)
        bits = fill_runs(bit[: edges.begins], bit[edges.begins :], int(row_pitch.sum()))
        for end, own in zip(np.cumsum(bytes_[some]).tolist(), bytes_[some].tolist(), strict=True):
            yield Bitmask(*next(corners), bits[end - own : end].reshape(next(shapes)))


def _batches(weights: Integers) -> Iterator[slice]:
    """Neighbors that weigh up to a batch together, or one that is heavier alone."""
    start, weight = 0, 0
    for i, own in enumerate(weights.tolist()):
        if weight + own > _BATCH and i > start:
            yield slice(start, i)
            start, weight = i, 0
        weight += own
    if start < len(weights):
        yield slice(start, len(weights))
