"""Mask paste: the small mask that a network predicts, laid onto the frame's pixels.

A mask lies in its box, with zeros outside, or over the whole canvas. Only the pixels that it can hold are made,
whatever the frame's size, and of them only the outline is computed; see :mod:`segopt.masks.rasterize`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segopt.masks.bitmask import Bitmask
from segopt.masks.canvas import paste_on_canvas
from segopt.masks.crop import MaskCrop
from segopt.masks.placement import axis
from segopt.masks.rasterize import rasterize
from segopt.model.card import PasteRule


def paste_mask(
    mask: NDArray[np.floating],
    box: NDArray[np.floating],
    height: int,
    width: int,
    *,
    rule: PasteRule = "torchvision",
    threshold: float = 0.5,
    extent: tuple[float, float] | None = None,
) -> MaskCrop:
    """Lay one mask onto a frame.

    Args:
        mask: [M, M] mask probability inside the box; over the canvas, [h, w] logits.
        box: [4] x0, y0, x1, y1 in frame pixels; it may reach beyond the frame, and is cut there.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
        rule: where the mask's cells lie. ``torchvision``: the box is widened by one cell on each side, rounded
            down to whole pixels, and one pixel longer than its length (``paste_masks_in_image`` in
            torchvision/models/detection/roi_heads.py). ``detectron2``: exactly where the box is
            (detectron2/layers/mask_ops.py). ``canvas``: over the whole canvas, whatever the box is, and the mask
            is of logits. ``canvas-box``: the same, cut at the box.
        threshold: a pixel belongs to the object from this probability on.
        extent: height and width of the canvas in frame pixels, for masks over the canvas; None is the frame's.

    Returns:
        The object's pixels, cropped to the part of the box that is inside the frame.
    """
    (crop,) = paste_masks(
        np.asarray(mask)[None], np.asarray(box)[None], height, width, rule=rule, threshold=threshold, extent=extent
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
    extent: tuple[float, float] | None = None,
) -> Iterator[MaskCrop]:
    """Lay masks [N, h, w] with boxes [N, 4] onto a frame: what :func:`paste_mask` gives of each, in less time."""
    for crop in paste_bitmasks(masks, boxes, height, width, rule=rule, threshold=threshold, extent=extent):
        yield MaskCrop(crop.x, crop.y, crop.unpack().view(np.bool_))


def paste_bitmasks(
    masks: NDArray[np.floating],
    boxes: NDArray[np.floating],
    height: int,
    width: int,
    *,
    rule: PasteRule = "torchvision",
    threshold: float = 0.5,
    extent: tuple[float, float] | None = None,
    grid: int = 1,
) -> Iterator[Bitmask]:
    """As :func:`paste_masks`, eight pixels to a byte.

    Args:
        masks: [N, M, M]; over the canvas, [N, h, w].
        boxes: [N, 4].
        height: of the frame.
        width: of the frame.
        rule: see :func:`paste_mask`.
        threshold: see :func:`paste_mask`.
        extent: see :func:`paste_mask`.
        grid: the crops' first column is a multiple of it.
    """
    if rule == "canvas" or rule == "canvas-box":
        yield from paste_on_canvas(
            masks,
            boxes if rule == "canvas-box" else None,
            (height, width),
            extent or (height, width),
            threshold=threshold,
            grid=grid,
        )
        return
    x0, y0, x1, y1 = np.asarray(boxes, dtype=np.float32).T
    size = masks.shape[1]
    yield from rasterize(
        masks, axis(rule, y0, y1, size, height), axis(rule, x0, x1, size, width), threshold=threshold, grid=grid
    )
