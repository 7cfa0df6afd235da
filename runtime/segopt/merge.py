"""Panoptic merging: a network's answer into one map of segments.

For instances and a semantic map (:func:`merge_panoptic`), the heuristic of Panoptic FPN (Kirillov et al., 2019,
section 3.3) as Detectron2 has it
(``detectron2/modeling/meta_arch/panoptic_fpn.py``, ``combine_semantic_and_instance_outputs``), worked inside box
crops: no plane of the frame's size is made for any instance.

For query networks see :mod:`segopt.query_merge`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.masks.areas import code_areas
from segopt.masks.bitmask import Bitmask
from segopt.masks.paste import paste_bitmasks
from segopt.model.card import BoxPaste, PasteRule
from segopt.query_merge import merge_queries as merge_queries
from segopt.segment import Segment


@dataclass(frozen=True, eq=False)
class Merged:
    """A merge before its last step: pixels hold codes, and one look-up table makes ids of them.

    Who has other ids in mind (a tracker) puts them into the table, which costs nothing, where going through a
    finished map of 1080p once more takes 0.8 ms.
    """

    codes: NDArray[np.uint8] | NDArray[np.uint16]
    """[H, W]: what each pixel is, as a row of ``table``."""
    table: NDArray[np.int32]
    """int32 [256 or more]: position in ``segments`` of each code, plus one; 0 is void."""
    visible: tuple[Bitmask, ...]
    """Of each thing, the pixels that are its own; things are the first of ``segments``."""
    segments: tuple[Segment, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame."""
        height, width = self.codes.shape
        return height, width

    def segment_map(self) -> NDArray[np.int32]:
        """int32 [H, W]: id of the pixel's segment, 0 where there is none."""
        return _looked_up(self.codes, np.array([0, *(s.id for s in self.segments)], dtype=np.int32)[self.table])

    def index(self) -> NDArray[np.uint8] | None:
        """uint8 [H, W]: position in ``segments`` plus one; None where a byte does not hold all of them."""
        if self.codes.dtype != np.uint8 or len(self.segments) > 255:
            return None
        return np.asarray(cv2.LUT(self.codes, self.table[:256].astype(np.uint8)), dtype=np.uint8)

    def thing_boxes(self) -> NDArray[np.float32]:
        """float32 [T, 4]: x0, y0, x1, y1 in pixels, the tight box of what is seen of each thing."""
        return np.array([own.box() for own in self.visible], dtype=np.float32).reshape(-1, 4)


def merge_panoptic(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.integer],
    masks: NDArray[np.floating],
    semantic: NDArray[np.uint8],
    stuff_classes: Mapping[int, int],
    *,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    stuff_area: int = 4096,
    paste: PasteRule = "detectron2",
    extent: tuple[float, float] | None = None,
) -> tuple[NDArray[np.int32], list[Segment]]:
    """Merge detections and a label map into a panoptic map.

    Instances are taken by descending score (equal scores: in the order given). Those below ``score_threshold``
    are left out, and so is one of whose mask more than ``overlap_threshold`` is already taken; the rest paint
    their free pixels. Then each stuff category with at least ``stuff_area`` free pixels becomes one segment.
    An instance that would own no pixel is no segment.

    Args:
        boxes: float32 [N, 4], x0, y0, x1, y1 in frame pixels.
        scores: float32 [N].
        labels: int [N], category ids of the things.
        masks: float [N, M, M] (M is 28 in Mask R-CNN), mask probability inside the box; or [N, h, w], logits over
            the canvas.
        semantic: uint8 [H, W] at the frame's resolution, index of each pixel's semantic class.
        stuff_classes: semantic index -> category id. An index that is not in it is not stuff; indices of the
            same category make one segment together.
        score_threshold: lowest score of an instance.
        overlap_threshold: largest taken share of a mask, 0 to 1.
        stuff_area: smallest stuff segment, in pixels.
        paste: how masks are laid onto pixels, see :func:`segopt.masks.paste.paste_mask`.
        extent: height and width of the canvas in frame pixels, for masks over the canvas; None is the frame's.

    Returns:
        ``segment_map`` int32 [H, W], 0 where there is no segment, and the segments in the order of their ids.

    Raises:
        ValueError: arrays whose shapes do not fit each other.
    """
    merged = merge_codes(
        boxes,
        scores,
        labels,
        masks,
        semantic,
        stuff_classes,
        score_threshold=score_threshold,
        overlap_threshold=overlap_threshold,
        stuff_area=stuff_area,
        paste=paste,
        extent=extent,
    )
    return merged.segment_map(), list(merged.segments)


def merge_codes(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.integer],
    masks: NDArray[np.floating],
    semantic: NDArray[np.uint8],
    stuff_classes: Mapping[int, int],
    *,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    stuff_area: int = 4096,
    paste: PasteRule = "detectron2",
    extent: tuple[float, float] | None = None,
) -> Merged:
    """:func:`merge_panoptic` without its last step; arguments and errors are the same."""
    _check_shapes(boxes, scores, labels, masks, semantic, square=paste in get_args(BoxPaste))
    if not all(0 <= index < 256 for index in stuff_classes):
        raise ValueError(f"stuff_classes has indices outside of 0..255: {sorted(stuff_classes)}")
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= score_threshold]
    height, width = semantic.shape
    free = _Free(height, width)
    crops = paste_bitmasks(masks[order], boxes[order], height, width, rule=paste, grid=8, extent=extent)
    claims = ((i, free.claim(crop, overlap_threshold)) for i, crop in zip(order.tolist(), crops, strict=True))
    visible = [(i, own) for i, own in claims if own is not None]
    codes, first = _paint(semantic, [own for _, own in visible])
    table = np.zeros(max(256, first + len(visible)), dtype=np.int32)
    table[first : first + len(visible)] = np.arange(1, len(visible) + 1)
    areas = code_areas(codes, len(table))
    segments = [
        Segment(k + 1, int(labels[i]), True, float(scores[i]), int(areas[first + k]))
        for k, (i, _) in enumerate(visible)
    ]
    for category, indices in _indices_by_category(stuff_classes, first).items():
        area = int(areas[indices].sum())
        if area >= max(stuff_area, 1):
            segments.append(Segment(len(segments) + 1, category, False, 1.0, area))
            table[indices] = len(segments)
    return Merged(codes, table, tuple(own for _, own in visible), tuple(segments))


def _looked_up(codes: NDArray[np.unsignedinteger], table: NDArray[np.int32]) -> NDArray[np.int32]:
    found = cv2.LUT(codes, table) if codes.dtype == np.uint8 else table.take(codes)
    return np.asarray(found, dtype=np.int32)


class _Free:
    """What is still free of a frame, eight pixels to a byte."""

    def __init__(self, height: int, width: int) -> None:
        self._bits = np.full((height, (width + 7) // 8), 255, dtype=np.uint8)

    def claim(self, crop: Bitmask, overlap_threshold: float) -> Bitmask | None:
        """Take a mask's free pixels, if it has some and no more than this share of it is taken already."""
        area = crop.area
        if area == 0:
            return None
        height, pitch = crop.bits.shape
        around = self._bits[crop.y : crop.y + height, crop.x // 8 : crop.x // 8 + pitch]
        own = Bitmask(crop.x, crop.y, crop.width, np.asarray(cv2.bitwise_and(crop.bits, around), dtype=np.uint8))
        free = own.area
        if free == 0 or (area - free) / area > overlap_threshold:
            return None
        cv2.bitwise_xor(around, own.bits, dst=around)
        return own


def _paint(
    semantic: NDArray[np.uint8], visible: list[Bitmask]
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], int]:
    """The label map with things painted over it, and the first thing's code; below it are semantic indices."""
    first = int(semantic.max()) + 1
    # As few bytes a pixel as the codes need: the memory that is touched is most of the cost.
    codes = semantic.astype(np.uint8 if first + len(visible) <= 256 else np.uint16, order="C")
    for code, crop in enumerate(visible, start=first):
        painted = crop.unpack().astype(codes.dtype, copy=False)
        painted *= codes.dtype.type(code)
        own = codes[crop.y : crop.y + len(painted), crop.x : crop.x + crop.width]
        cv2.max(own, painted, dst=own)
    return codes, first


def _indices_by_category(stuff_classes: Mapping[int, int], stop: int) -> dict[int, list[int]]:
    """Semantic indices below ``stop`` of each category, in the order of each category's first index."""
    indices: dict[int, list[int]] = {}
    for index in sorted(stuff_classes):
        if index < stop:
            indices.setdefault(stuff_classes[index], []).append(index)
    return indices


def _check_shapes(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.integer],
    masks: NDArray[np.floating],
    semantic: NDArray[np.uint8],
    *,
    square: bool,
) -> None:
    if scores.ndim != 1:
        raise ValueError(f"scores has shape {scores.shape}, and must be [N]")
    if masks.ndim != 3 or (square and masks.shape[1] != masks.shape[2]):
        raise ValueError(f"masks has shape {masks.shape}, and must be {'[N, M, M]' if square else '[N, h, w]'}")
    n = len(scores)
    wanted = {"boxes": (n, 4), "labels": (n,), "masks": (n, *masks.shape[1:])}
    for (name, shape), array in zip(wanted.items(), (boxes, labels, masks), strict=True):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, and {n} scores want {shape}")
    if semantic.ndim != 2 or semantic.dtype != np.uint8 or semantic.size == 0:
        raise ValueError(f"semantic is {semantic.dtype} {semantic.shape}, and must be uint8 [H, W] with pixels")
