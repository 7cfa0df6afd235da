"""Panoptic quality (Kirillov et al., "Panoptic Segmentation", 2019, section 4).

Void and crowd regions are treated as ``panopticapi/evaluation.py`` (cocodataset/panopticapi) treats them, so that
the figures are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.scores import Figures, mean

_ID_BITS = 24
_VOID, _UNKNOWN = 0, -1


@dataclass(frozen=True)
class SegmentLabel:
    """What a segment map's id stands for."""

    id: int
    """1 to 2^24 - 1; 0 is void."""
    category_id: int
    is_crowd: bool = False


@dataclass(frozen=True)
class SegmentMap:
    """A panoptic map with its segments."""

    ids: NDArray[np.int32]
    """int32 [H, W]; 0 is void."""
    segments: Sequence[SegmentLabel]


class PanopticQuality:
    """Sums up matches over pictures, class by class.

    A found segment and a true one of the same class match where their IoU, without the pixels that are void in the
    ground truth, is above one half. Crowd segments match nothing. A found segment without a match is no error
    where more than half of it lies on void or on its own class's crowd.

    Args:
        classes: of the ground truth. Segments of other categories must not be added.
    """

    def __init__(self, classes: Sequence[TruthClass]) -> None:
        self.classes = tuple(classes)
        self._row = {entry.id: i for i, entry in enumerate(self.classes)}
        self.iou = np.zeros(len(self.classes))
        """float64 [C]: sum of the matches' IoU."""
        self.matches = np.zeros(len(self.classes), dtype=np.int64)
        self.false = np.zeros(len(self.classes), dtype=np.int64)
        """int64 [C]: found segments without a match."""
        self.missed = np.zeros(len(self.classes), dtype=np.int64)
        """int64 [C]: true segments without a match."""

    def add(self, truth: SegmentMap, found: SegmentMap) -> None:
        """Count one picture.

        Args:
            truth: ids that no segment has are neither void nor segments, as in panopticapi.
            found: of the same size; each segment owns a pixel.

        Raises:
            ValueError: the maps differ in size.
        """
        self.add_common(intersections(truth, found), truth.segments, found.segments)

    def add_common(
        self, common: NDArray[np.int64], truth: Sequence[SegmentLabel], found: Sequence[SegmentLabel]
    ) -> None:
        """Count one picture, or one window of a video, by the pixels that segments share.

        Args:
            common: int64 [T + 2, F + 2], as :func:`intersections` gives it.
            truth: T segments.
            found: F segments.
        """
        rows_true = np.array([self._row[s.category_id] for s in truth], dtype=np.int64)
        rows_found = np.array([self._row[s.category_id] for s in found], dtype=np.int64)
        crowd = np.array([s.is_crowd for s in truth], dtype=np.bool_)
        overlap = common[1:-1, 1:-1]
        area_true, area_found = common.sum(axis=1)[1:-1], common.sum(axis=0)[1:-1]
        on_void = common[_VOID, 1:-1]

        union = area_true[:, None] + area_found - overlap - on_void
        # A union of 0 belongs to segments without pixels outside of void: they match nothing.
        iou = overlap / np.maximum(union, 1)
        match = (iou > 0.5) & (rows_true[:, None] == rows_found) & ~crowd[:, None]
        at_true, at_found = np.nonzero(match)
        np.add.at(self.iou, rows_true[at_true], iou[at_true, at_found])
        np.add.at(self.matches, rows_true[at_true], 1)
        np.add.at(self.missed, rows_true[~match.any(axis=1) & ~crowd], 1)

        excused = on_void.copy()
        # Of several crowds of one class the last one counts, as in panopticapi.
        for row, k in {rows_true[k]: k for k in np.flatnonzero(crowd)}.items():
            excused += np.where(rows_found == row, overlap[k], 0)
        is_false = ~match.any(axis=0) & (excused <= 0.5 * area_found)
        np.add.at(self.false, rows_found[is_false], 1)

    def of_class(self, class_id: int) -> Figures:
        """``PQ``, ``SQ`` and ``RQ`` of one class; None where it was neither there nor found."""
        i = self._row[class_id]
        matches = int(self.matches[i])
        weight = matches + 0.5 * int(self.false[i]) + 0.5 * int(self.missed[i])
        if weight == 0:
            return {"PQ": None, "SQ": None, "RQ": None}
        iou = float(self.iou[i])
        return {"PQ": iou / weight, "SQ": iou / matches if matches else 0.0, "RQ": matches / weight}

    def mean_of(self, class_ids: Collection[int]) -> Figures:
        """Means over those of the classes that were there or found; None where none was."""
        rows = [self.of_class(class_id) for class_id in class_ids]
        return {name: mean([v for row in rows if (v := row[name]) is not None]) for name in ("PQ", "SQ", "RQ")}


def intersections(truth: SegmentMap, found: SegmentMap) -> NDArray[np.int64]:
    """int64 [T + 2, F + 2]: common pixels of void, each segment, and ids that no segment has.

    Raises:
        ValueError: the maps differ in size.
    """
    if truth.ids.shape != found.ids.shape:
        raise ValueError(f"the maps differ in size: {truth.ids.shape} and {found.ids.shape}")
    pairs, counts = np.unique(
        truth.ids.astype(np.int64) << _ID_BITS | found.ids.astype(np.int64), return_counts=True
    )
    common = np.zeros((len(truth.segments) + 2, len(found.segments) + 2), dtype=np.int64)
    rows = _positions(pairs >> _ID_BITS, truth.segments)
    columns = _positions(pairs & ((1 << _ID_BITS) - 1), found.segments)
    np.add.at(common, (rows, columns), counts)
    return common


def _positions(ids: NDArray[np.int64], segments: Sequence[SegmentLabel]) -> NDArray[np.int64]:
    position = {segment.id: i for i, segment in enumerate(segments, start=1)}
    position[0] = _VOID
    return np.array([position.get(int(i), _UNKNOWN) for i in ids], dtype=np.int64)
