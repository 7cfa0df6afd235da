"""Mask paste: the small mask that a network predicts inside a box, laid onto the frame's pixels.

Bilinear interpolation with zeros outside is a product of three matrices: each row (column) of the crop is a
weighted sum of two mask rows (columns), and the weights are the hat function of the distance. Only the box's own
pixels are computed, whatever the frame's size.

The products are cut into blocks. A strip of pixels between two columns of cells needs only the cells near it,
which is a third of the work. And a block stays below the size from which OpenBLAS starts threads: they fight with
the network's own for the cores, and 100 masks took 660 ms with them in place of 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segopt.card import PasteRule
from segopt.results import BoolImage, MaskCrop

Floats = NDArray[np.float32]
Axis = tuple[int, Floats]
"""First pixel, and for each pixel from there on its position in the mask, in mask cells."""


def paste_mask(
    mask: NDArray[np.floating],
    box: NDArray[np.floating],
    height: int,
    width: int,
    *,
    rule: PasteRule = "torchvision",
    threshold: float = 0.5,
) -> MaskCrop:
    """Lay one mask onto a frame.

    Args:
        mask: [M, M] mask probability inside the box.
        box: [4] x0, y0, x1, y1 in frame pixels; it may reach beyond the frame, and is cut there.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
        rule: where the mask's cells lie. ``torchvision``: the box is widened by one cell on each side, rounded
            down to whole pixels, and one pixel longer than its length (``paste_masks_in_image`` in
            torchvision/models/detection/roi_heads.py). ``detectron2``: exactly where the box is
            (detectron2/layers/mask_ops.py).
        threshold: a pixel belongs to the object from this probability on.

    Returns:
        The object's pixels, cropped to the part of the box that is inside the frame.
    """
    along = _RULES[rule]
    x0, y0, x1, y1 = np.asarray(box, dtype=np.float32)
    size = mask.shape[0]
    top, rows = along(y0, y1, size, height)
    left, columns = along(x0, x1, size, width)
    if rows.size == 0 or columns.size == 0:
        return MaskCrop(0, 0, np.zeros((0, 0), dtype=np.bool_))
    cells = np.asarray(mask, dtype=np.float32)
    return MaskCrop(left, top, _reaches(np.float32(threshold), cells, rows, columns))


_STRIP = 7
"""Columns of cells between which a strip of pixels lies."""
_BLOCK = 2**18
"""Multiplications in one product; more of them and OpenBLAS (interface/gemm.c) starts threads."""


def _reaches(threshold: np.float32, mask: Floats, rows: Floats, columns: Floats) -> BoolImage:
    """bool [h, w]: where the mask [M, M], interpolated at h by w positions in cells, is at least the threshold."""
    size = len(mask)
    down, across = _hat(rows, size), np.ascontiguousarray(_hat(columns, size).T)
    # A strip holds the pixels from one of its cells on and before the next strip's first cell.
    firsts = range(0, size, _STRIP)
    edges = [0, *np.searchsorted(columns, firsts[1:]).tolist(), len(columns)]
    strips = list(zip(firsts, edges, edges[1:], strict=False))
    widest = max(end - start for _, start, end in strips)
    band = max(1, _BLOCK // max(size * size, widest * (_STRIP + 1)))
    inside = np.empty((len(rows), len(columns)), dtype=np.bool_)
    for top in range(0, len(rows), band):
        lines = slice(top, top + band)
        stretched = down[lines] @ mask
        values = np.empty((len(stretched), len(columns)), dtype=np.float32)
        for first, start, end in strips:
            cells = slice(first, first + _STRIP + 1)
            np.matmul(stretched[:, cells], across[cells, start:end], out=values[:, start:end])
        np.greater_equal(values, threshold, out=inside[lines])
    return inside


def _hat(positions: Floats, size: int) -> Floats:
    """float32 [n, size]: weight of each mask cell at each position; zero further than one cell away."""
    distance = positions[:, None] - np.arange(size, dtype=np.float32)
    np.abs(distance, out=distance)
    np.subtract(1, distance, out=distance)
    return np.maximum(distance, 0, out=distance)


def _widened_to_pixels(low: np.float32, high: np.float32, size: int, limit: int) -> Axis:
    # Single precision and truncation towards zero, as torchvision's expand_boxes and its cast to int64 have it.
    half = (high - low) * np.float32(0.5) * np.float32((size + 2) / size)
    center = (high + low) * np.float32(0.5)
    first, last = int(center - half), int(center + half)
    length = max(last - first + 1, 1)
    start, stop = max(first, 0), min(last + 1, limit)
    pixels = np.arange(start - first, stop - first, dtype=np.float32)
    # Positions in the mask padded by one cell, minus that cell.
    return start, (pixels + np.float32(0.5)) * np.float32((size + 2) / length) - np.float32(1.5)


def _exact(low: np.float32, high: np.float32, size: int, limit: int) -> Axis:
    if not high > low:
        return 0, np.zeros(0, dtype=np.float32)
    start, stop = max(math.floor(low - 0.5), 0), min(math.ceil(high + 0.5), limit)
    centers = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    return start, (centers - low) / (high - low) * np.float32(size) - np.float32(0.5)


_RULES: dict[PasteRule, Callable[[np.float32, np.float32, int, int], Axis]] = {
    "torchvision": _widened_to_pixels,
    "detectron2": _exact,
}
