"""Panoptic merging: instances and a semantic map into one map of segments.

The heuristic of Panoptic FPN (Kirillov et al., 2019, section 3.3) as Detectron2 has it
(``detectron2/modeling/meta_arch/panoptic_fpn.py``, ``combine_semantic_and_instance_outputs``), worked inside box
crops: no plane of the frame's size is made for any instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.card import PasteRule
from segopt.masks import paste_packed
from segopt.packed import Bytes, PackedCrop
from segopt.results import BoolImage


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map."""

    id: int
    """Its value in the segment map; 1 and up."""
    category_id: int
    is_thing: bool
    score: float
    """The detection's score for a thing; 1.0 for stuff."""
    area: int
    """Number of its pixels."""


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
        masks: float [N, M, M] (M is 28 in Mask R-CNN), mask probability inside the box.
        semantic: uint8 [H, W] at the frame's resolution, index of each pixel's semantic class.
        stuff_classes: semantic index -> category id. An index that is not in it is not stuff; indices of the
            same category make one segment together.
        score_threshold: lowest score of an instance.
        overlap_threshold: largest taken share of a mask, 0 to 1.
        stuff_area: smallest stuff segment, in pixels.
        paste: how masks are laid onto pixels, see :func:`segopt.masks.paste_mask`.

    Returns:
        ``segment_map`` int32 [H, W], 0 where there is no segment, and the segments in the order of their ids.

    Raises:
        ValueError: arrays whose shapes do not fit each other.
    """
    _check_shapes(boxes, scores, labels, masks, semantic)
    if not all(0 <= index < 256 for index in stuff_classes):
        raise ValueError(f"stuff_classes has indices outside of 0..255: {sorted(stuff_classes)}")
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= score_threshold]
    height, width = semantic.shape
    canvas = _Canvas(height, width, _narrowest_type(len(order) + len(stuff_classes)))
    segments: list[Segment] = []
    crops = paste_packed(masks[order], boxes[order], height, width, rule=paste, grid=8)
    for i, crop in zip(order, crops, strict=True):
        area = crop.area
        if area == 0:
            continue
        fresh = canvas.free_of(crop)
        if fresh.area == 0 or (area - fresh.area) / area > overlap_threshold:
            continue
        segments.append(Segment(len(segments) + 1, int(labels[i]), True, float(scores[i]), fresh.area))
        canvas.paint(fresh, segments[-1].id)

    segment_map = canvas.ids
    segments += _paint_stuff(segment_map, semantic, stuff_classes, stuff_area, len(segments) + 1)
    return segment_map.astype(np.int32), segments


class _Canvas:
    """The map while things are painted: their ids, and in bits what is still free.

    As few bytes a pixel as the ids need: the memory that is touched is most of the cost.
    """

    def __init__(self, height: int, width: int, id_type: type[np.uint8 | np.uint16 | np.int32]) -> None:
        self.ids = np.zeros((height, width), dtype=id_type)
        self._free = np.full((height, (width + 7) // 8), 255, dtype=np.uint8)

    def free_of(self, crop: PackedCrop) -> PackedCrop:
        """The free pixels of a mask that has some; its first column is a multiple of eight."""
        fresh = cv2.bitwise_and(crop.bits, self._free_around(crop))
        return PackedCrop(crop.x, crop.y, crop.width, np.asarray(fresh, dtype=np.uint8))

    def paint(self, fresh: PackedCrop, segment_id: int) -> None:
        """Give free pixels an id."""
        free = self._free_around(fresh)
        cv2.bitwise_xor(free, fresh.bits, dst=free)
        own = self.ids[fresh.y : fresh.y + len(fresh.bits), fresh.x : fresh.x + fresh.width]
        cv2.add(own, fresh.unpack() * self.ids.dtype.type(segment_id), dst=own)

    def _free_around(self, crop: PackedCrop) -> Bytes:
        height, pitch = crop.bits.shape
        return self._free[crop.y : crop.y + height, crop.x // 8 : crop.x // 8 + pitch]


def _narrowest_type(highest: int) -> type[np.uint8 | np.uint16 | np.int32]:
    if highest < 2**8:
        return np.uint8
    return np.uint16 if highest < 2**16 else np.int32


def _paint_stuff(
    segment_map: NDArray[np.integer],
    semantic: NDArray[np.uint8],
    stuff_classes: Mapping[int, int],
    stuff_area: int,
    next_id: int,
) -> Iterator[Segment]:
    free = segment_map == 0
    pixels = class_areas(semantic, free)
    areas: dict[int, int] = {}
    for index in sorted(stuff_classes):
        category = stuff_classes[index]
        areas[category] = areas.get(category, 0) + int(pixels[index])
    ids: dict[int, int] = {}
    for category, area in areas.items():
        if area >= max(stuff_area, 1):
            ids[category] = next_id + len(ids)
            yield Segment(ids[category], category, False, 1.0, area)
    if ids:
        id_of_index = np.zeros(256, dtype=segment_map.dtype)
        for index, category in stuff_classes.items():
            id_of_index[index] = ids.get(category, 0)
        cv2.copyTo(cv2.LUT(semantic, id_of_index), free.view(np.uint8), segment_map)


def class_areas(semantic: NDArray[np.uint8], where: BoolImage) -> NDArray[np.int64]:
    """int64 [256]: number of pixels of each class in uint8 [H, W], counted where the bool [H, W] is True."""
    areas = np.zeros(256, dtype=np.int64)
    # OpenCV counts ten times as fast as np.bincount but in float32, which is exact up to 2**24 pixels.
    rows = max(1, 2**24 // max(1, semantic.shape[1]))
    for top in range(0, semantic.shape[0], rows):
        block = slice(top, top + rows)
        counts = cv2.calcHist([semantic[block]], [0], where[block].view(np.uint8), [256], [0, 256])
        areas += counts.ravel().astype(np.int64)
    return areas


def _check_shapes(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.integer],
    masks: NDArray[np.floating],
    semantic: NDArray[np.uint8],
) -> None:
    if scores.ndim != 1:
        raise ValueError(f"scores has shape {scores.shape}, and must be [N]")
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"masks has shape {masks.shape}, and must be [N, M, M]")
    n = len(scores)
    wanted = {"boxes": (n, 4), "labels": (n,), "masks": (n, *masks.shape[1:])}
    for (name, shape), array in zip(wanted.items(), (boxes, labels, masks), strict=True):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, and {n} scores want {shape}")
    if semantic.ndim != 2 or semantic.dtype != np.uint8 or semantic.size == 0:
        raise ValueError(f"semantic is {semantic.dtype} {semantic.shape}, and must be uint8 [H, W] with pixels")
