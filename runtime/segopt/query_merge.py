"""Panoptic merging of query networks: the kept queries' claims into one map of segments.

The rule of MaskFormer (Cheng et al., 2021, section 4.2), of which the graph has done the part that needs every
mask: who owns each pixel, and how many pixels each mask has.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.masks.areas import code_areas
from segopt.model.tensors import OUTSIDE
from segopt.segment import Segment


@dataclass(frozen=True, eq=False)
class MergedQueries:
    """A merge before its last step, as :class:`segopt.merge.Merged` is one: with the graph's few pixels."""

    codes: NDArray[np.uint8]
    """[h, w]: which query owns each pixel."""
    table: NDArray[np.int32]
    """int32 [256]: position in ``segments`` of each code, plus one; 0 is void."""
    segments: tuple[Segment, ...]
    """Their areas are those of the frame."""
    size: tuple[int, int]
    """Height and width of the frame, whose pixels are taken from the nearest."""

    def segment_map(self) -> NDArray[np.int32]:
        """int32 [H, W]: id of the pixel's segment, 0 where there is none."""
        ids = np.array([0, *(s.id for s in self.segments)], dtype=np.int32)[self.table]
        # Looked up where pixels are few: a pass over a frame's int32 map takes 1.5 ms at 1080p.
        return np.asarray(_nearest(cv2.LUT(self.codes, ids), self.size), dtype=np.int32)

    def index(self) -> NDArray[np.uint8] | None:
        """uint8 [H, W]: position in ``segments`` plus one."""
        return np.asarray(_nearest(cv2.LUT(self.codes, self.table.astype(np.uint8)), self.size), dtype=np.uint8)

    def thing_boxes(self) -> NDArray[np.float32]:
        """float32 [T, 4]: x0, y0, x1, y1 in pixels, the tight box of what is seen of each thing."""
        places = cv2.LUT(self.codes, self.table.astype(np.uint8))
        if any(target < side for side, target in zip(places.shape, self.size, strict=True)):
            # Rows or columns are left out, and a box may have been that of one of them.
            places = _nearest(places, self.size)
        copies = [_copies(side, target) for side, target in zip(places.shape, self.size, strict=True)]
        rows, columns = (np.concatenate(([0], each.cumsum())) for each in copies)
        boxes = []
        for place, segment in enumerate(self.segments, start=1):
            if segment.is_thing:
                x, y, width, height = cv2.boundingRect(cv2.inRange(places, place, place))
                boxes.append([columns[x], rows[y], columns[x + width], rows[y + height]])
        return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def merge_queries(
    segments: NDArray[np.uint8],
    scores: NDArray[np.float32],
    labels: NDArray[np.integer],
    mask_areas: NDArray[np.integer],
    stuff: Collection[int],
    *,
    mask_share: float = 0.8,
    size: tuple[int, int] | None = None,
) -> tuple[NDArray[np.int32], list[Segment]]:
    """Merge the kept queries of a query network into a panoptic map.

    A query survives that owns more than ``mask_share`` of the pixels of its mask, and at least one inside of it.
    It paints the pixels that it owns inside of its mask; the rest stays void. Queries of one stuff category are
    one segment, which has the best one's score.

    Args:
        segments: uint8 [H, W], without what lies beside the frame: index of the query that owns the pixel, and 128
            more where its own mask does not hold it.
        scores: float32 [K], probabilities, descending; negative where a slot is unused. K is at most 128.
        labels: int [K], category ids.
        mask_areas: int [K], pixels of each mask on the same area.
        stuff: category ids whose queries are one segment.
        mask_share: least share of its mask that a query owns, 0 to 1; exactly so much is too little.
        size: height and width of the map to make; None is that of ``segments``. Pixels are taken from the nearest.

    Returns:
        ``segment_map`` int32 of ``size``, 0 where there is no segment, and the segments by descending score, in
        the order of their ids.

    Raises:
        ValueError: arrays whose shapes do not fit each other.
    """
    merged = merge_query_codes(segments, scores, labels, mask_areas, stuff, mask_share=mask_share, size=size)
    return merged.segment_map(), list(merged.segments)


def merge_query_codes(
    segments: NDArray[np.uint8],
    scores: NDArray[np.float32],
    labels: NDArray[np.integer],
    mask_areas: NDArray[np.integer],
    stuff: Collection[int],
    *,
    mask_share: float = 0.8,
    size: tuple[int, int] | None = None,
) -> MergedQueries:
    """:func:`merge_queries` without its last step; arguments and errors are the same."""
    _check_queries(segments, scores, labels, mask_areas)
    count = len(scores)
    won = code_areas(segments, 256)
    owned = won[:count] + won[OUTSIDE : OUTSIDE + count]
    # A query that owns nothing inside of its mask has nothing to paint.
    survives = (scores > 0) & (won[:count] > 0) & (owned > mask_share * np.asarray(mask_areas, dtype=np.float64))
    shown = won
    if size is not None and size != segments.shape:
        shown = _areas_resized(segments, won, size)
        survives &= shown[:count] > 0
    ids = np.zeros(256, dtype=np.int32)
    found: list[tuple[int, int]] = []
    of_stuff: dict[int, int] = {}
    for slot in np.flatnonzero(survives).tolist():
        label = int(labels[slot])
        if label not in of_stuff:
            found.append((slot, label))
            if label in stuff:
                of_stuff[label] = len(found)
        ids[slot] = of_stuff.get(label, len(found))
    areas = np.bincount(ids, weights=shown, minlength=len(found) + 1)
    merged = [
        Segment(k, label, label not in stuff, float(scores[slot]), int(areas[k]))
        for k, (slot, label) in enumerate(found, start=1)
    ]
    height, width = size or segments.shape
    return MergedQueries(segments, ids, tuple(merged), (height, width))


def _areas_resized(codes: NDArray[np.uint8], areas: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """int64 [256]: pixels of each code in the map resized to ``size``.

    A larger map is not made for it: a row of the map is a row of the resized one n or n + 1 times, whichever n is;
    so with its columns.
    """
    if size[0] * size[1] <= codes.size:
        return code_areas(np.asarray(_nearest(codes, size), dtype=np.uint8), 256)
    rows, columns = (_copies(side, target) for side, target in zip(codes.shape, size, strict=True))
    n, m = int(rows.min()), int(columns.min())
    often, wide = codes[rows > n], _chosen_columns(codes, columns > m)
    both = _chosen_columns(often, columns > m)
    return n * m * areas + m * code_areas(often, 256) + n * code_areas(wide, 256) + code_areas(both, 256)


def _chosen_columns(codes: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The columns, as rows: whole lines are copied, where NumPy would pick out single bytes."""
    if codes.size == 0 or not chosen.any():
        return np.empty((0, len(codes)), dtype=np.uint8)
    return np.asarray(cv2.transpose(codes), dtype=np.uint8)[chosen]


def _nearest(picture: Any, size: tuple[int, int]) -> Any:
    """A picture of one channel in another size, each pixel the nearest one's; itself where it has that size."""
    if picture.shape == size:
        return picture
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


@lru_cache(maxsize=64)
def _copies(side: int, target: int) -> NDArray[np.int64]:
    """int64 [side]: how often each pixel of a line is in the line resized to ``target`` pixels."""
    line = np.arange(side, dtype=np.float32)[None]
    taken = np.asarray(cv2.resize(line, (target, 1), interpolation=cv2.INTER_NEAREST_EXACT))
    counted = np.bincount(taken.ravel().astype(np.int64), minlength=side)
    # Frames of a video have one size, and all of them share it.
    counted.setflags(write=False)
    return counted


def _check_queries(
    segments: NDArray[np.uint8],
    scores: NDArray[np.float32],
    labels: NDArray[np.integer],
    mask_areas: NDArray[np.integer],
) -> None:
    if scores.ndim != 1 or len(scores) > OUTSIDE:
        raise ValueError(f"scores has shape {scores.shape}, and must be [K], K at most {OUTSIDE}")
    for name, array in {"labels": labels, "mask_areas": mask_areas}.items():
        if array.shape != scores.shape:
            raise ValueError(f"{name} has shape {array.shape}, and {len(scores)} scores want {scores.shape}")
    if segments.ndim != 2 or segments.dtype != np.uint8 or segments.size == 0:
        raise ValueError(f"segments is {segments.dtype} {segments.shape}, and must be uint8 [H, W] with pixels")
