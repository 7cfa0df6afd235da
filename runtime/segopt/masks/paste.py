"""Mask paste: the small mask that a network predicts inside a box, laid onto the frame's pixels.

Bilinear interpolation with zeros outside. Only the box's own pixels are made, whatever the frame's size, and of
them only the outline is computed; what is inside is filled in, eight pixels to a byte. Masks are worked in
batches, so that the buffers are of some megabytes whatever the number of masks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segopt.masks.bitmask import Bitmask, fill_runs
from segopt.masks.crop import MaskCrop
from segopt.masks.marching_squares import outlines
from segopt.masks.placement import Integers, axis
from segopt.model.card import PasteRule


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
    (crop,) = paste_masks(
        np.asarray(mask)[None], np.asarray(box)[None], height, width, rule=rule, threshold=threshold
    )
    return crop


def paste_masks(
    masks: NDArray[np.floating],
    boxes: NDArray[np.floating],
    height: int,
    width: int,
    *,
    rule: PasteRule = "torchvision",
    threshold: float = 0.5,
) -> Iterator[MaskCrop]:
    """Lay masks [N, M, M] in boxes [N, 4] onto a frame: what :func:`paste_mask` gives of each, in less time."""
    for crop in paste_bitmasks(masks, boxes, height, width, rule=rule, threshold=threshold):
        yield MaskCrop(crop.x, crop.y, crop.unpack().view(np.bool_))


def paste_bitmasks(
    masks: NDArray[np.floating],
    boxes: NDArray[np.floating],
    height: int,
    width: int,
    *,
    rule: PasteRule = "torchvision",
    threshold: float = 0.5,
    grid: int = 1,
) -> Iterator[Bitmask]:
    """As :func:`paste_masks`, eight pixels to a byte.

    Args:
        masks: [N, M, M].
        boxes: [N, 4].
        height: of the frame.
        width: of the frame.
        rule: see :func:`paste_mask`.
        threshold: see :func:`paste_mask`.
        grid: the crops' first column is a multiple of it.
    """
    x0, y0, x1, y1 = np.asarray(boxes, dtype=np.float32).T
    size = masks.shape[1]
    down, across = axis(rule, y0, y1, size, height), axis(rule, x0, x1, size, width)
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


_BATCH = 2**24
"""Bytes of a batch's buffers, roughly."""
_BYTES_OF_CELL, _BYTES_OF_ROW = 32, 200


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
