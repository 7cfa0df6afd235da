"""Quality of panoptic video: VPQ, STQ and identity switches, all from the pixels that segments share.

* VPQ (Kim et al., "Video Panoptic Segmentation", 2020): panoptic quality of tubes over k frames, for every window
  of k frames in a row. At k = 1 it is PQ.
* STQ (Weber et al., "STEP: Segmenting and Tracking Every Pixel", 2021): the geometric mean of SQ, mean IoU over
  classes, and AQ, which says how much of each true object is found under one identity. As in deeplab2, a class
  that is found and not there has an IoU of 0, and void and crowd pixels are left out.
* Switches: how often a true object is matched (IoU above one half) by another identity than the time before.

A tube is a class and an id, so that an id that changes its class is two.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.panoptic_quality import PanopticQuality, SegmentLabel, SegmentMap, intersections
from segopt_bench.evaluation.scores import Figures
from segopt_bench.evaluation.tracking_quality import FrameObjects, TrackingQuality

WINDOWS = (1, 5, 10)
"""Frames of a tube."""

Key = tuple[int, int]
"""Row of a class, and id."""


@dataclass
class _Frame:
    """What one frame adds to tubes."""

    common: NDArray[np.int64]
    truth: Sequence[SegmentLabel]
    found: Sequence[SegmentLabel]


@dataclass
class _Tubes:
    """What is known of the video that is being looked at."""

    areas: dict[Key, int] = field(default_factory=dict)
    """Pixels of each true object."""
    found: dict[Key, int] = field(default_factory=dict)
    """Pixels of each object that was found, without those on void and crowd."""
    shared: dict[tuple[Key, Key], int] = field(default_factory=dict)
    last: dict[Key, Key] = field(default_factory=dict)
    """Who matched each true object the last time."""


class VideoQuality:
    """Sums up over videos, frame by frame.

    Args:
        classes: of the ground truth. Segments of other categories must not be added.
    """

    def __init__(self, classes: Sequence[TruthClass]) -> None:
        self.classes = tuple(classes)
        self._row = {entry.id: i for i, entry in enumerate(self.classes)}
        self._is_thing = [entry.is_thing for entry in self.classes]
        self._windows = {k: PanopticQuality(self.classes) for k in WINDOWS}
        self._recent: deque[_Frame] = deque(maxlen=max(WINDOWS))
        self._tubes = _Tubes()
        # By class: true pixels, found pixels, and those that are both.
        self._pixels = np.zeros((3, len(self.classes)), dtype=np.int64)
        self._qualities: list[float] = []
        self._tracking = TrackingQuality()
        self.switches = 0
        self.frames = 0
        self.videos = 0

    def begin(self) -> None:
        """The frames that follow are of another video."""
        if self.videos:
            self._qualities += _association(self._tubes)
        self.videos += 1
        self._tubes = _Tubes()
        self._recent.clear()
        self._tracking.begin()

    def add(self, truth: SegmentMap, found: SegmentMap) -> None:
        """Count the next frame of the video.

        Args:
            truth: whose ids last through the video.
            found: of the same size; each segment owns a pixel.

        Raises:
            ValueError: the maps differ in size.
        """
        if not self.videos:
            self.begin()
        frame = _Frame(intersections(truth, found), truth.segments, found.segments)
        self.frames += 1
        self._recent.append(frame)
        for k, quality in self._windows.items():
            if len(self._recent) >= k:
                quality.add_common(*_joined(list(self._recent)[-k:]))
        self._count_tubes(frame)
        self._count_matches(frame)

    def figures(self) -> Figures:
        """``VPQ1``, ``VPQ5``, ``VPQ10``, ``STQ``, ``AQ``, ``SQ``, ``HOTA``, ``IDF1``, 0 to 1; None of nothing."""
        ids = [entry.id for entry in self.classes]
        figures = {f"VPQ{k}": quality.mean_of(ids)["PQ"] for k, quality in self._windows.items()}
        qualities = self._qualities + _association(self._tubes)
        association = sum(qualities) / len(qualities) if qualities else None
        true, found, both = self._pixels
        union = true + found - both
        semantic = float((both[union > 0] / union[union > 0]).mean()) if union.any() else None
        together = None
        if association is not None and semantic is not None:
            together = math.sqrt(association * semantic)
        return {**figures, "STQ": together, "AQ": association, "SQ": semantic, **self._tracking.figures()}

    def _count_tubes(self, frame: _Frame) -> None:
        true, found = self._keys(frame.truth), self._keys(frame.found)
        crowd = np.array([segment.is_crowd for segment in frame.truth], dtype=np.bool_)
        rows_true = np.array([row for row, _ in true], dtype=np.int64)
        rows_found = np.array([row for row, _ in found], dtype=np.int64)
        # Ids that no segment has are neither void nor segments: found there is found wrongly.
        counted = np.concatenate(([False], ~crowd, [True]))
        common = frame.common[counted]
        within = common[:-1]
        np.add.at(self._pixels[0], rows_true[~crowd], within.sum(axis=1))
        np.add.at(self._pixels[1], rows_found, common.sum(axis=0)[1:-1])
        same = rows_true[~crowd][:, None] == rows_found
        np.add.at(self._pixels[2], rows_found, (within[:, 1:-1] * same).sum(axis=0))
        tubes = self._tubes
        objects = [key for key, is_crowd in zip(true, crowd.tolist(), strict=True) if not is_crowd]
        for key, area in zip(objects, within.sum(axis=1).tolist(), strict=True):
            if self._is_thing[key[0]]:
                tubes.areas[key] = tubes.areas.get(key, 0) + area
        for key, area in zip(found, common.sum(axis=0)[1:-1].tolist(), strict=True):
            if self._is_thing[key[0]]:
                tubes.found[key] = tubes.found.get(key, 0) + area
        for i, j in zip(*np.nonzero(within[:, 1:-1]), strict=True):
            pair = objects[i], found[j]
            if self._is_thing[pair[0][0]] and self._is_thing[pair[1][0]]:
                tubes.shared[pair] = tubes.shared.get(pair, 0) + int(within[i, j + 1])

    def _count_matches(self, frame: _Frame) -> None:
        true, found = self._keys(frame.truth), self._keys(frame.found)
        overlap = frame.common[1:-1, 1:-1]
        area_true, area_found = frame.common.sum(axis=1)[1:-1], frame.common.sum(axis=0)[1:-1]
        on_void = frame.common[0, 1:-1]
        iou = overlap / np.maximum(area_true[:, None] + area_found - overlap - on_void, 1)
        rows_true = np.array([row for row, _ in true], dtype=np.int64)
        rows_found = np.array([row for row, _ in found], dtype=np.int64)
        iou = iou * (rows_true[:, None] == rows_found)
        crowd = np.array([segment.is_crowd for segment in frame.truth], dtype=np.bool_)
        wanted = np.array([self._is_thing[row] for row in rows_true], dtype=np.bool_) & ~crowd
        things = np.array([self._is_thing[row] for row in rows_found], dtype=np.bool_)
        for i, j in zip(*np.nonzero((iou > 0.5) & wanted[:, None] & things), strict=True):
            self.switches += self._tubes.last.get(true[i], found[j]) != found[j]
            self._tubes.last[true[i]] = found[j]
        excused = on_void + (overlap * crowd[:, None]).sum(axis=0) > 0.5 * area_found
        rows, columns = np.flatnonzero(wanted), np.flatnonzero(things & ~excused)
        self._tracking.add(
            FrameObjects([true[i] for i in rows], [found[j] for j in columns], iou[rows[:, None], columns])
        )

    def _keys(self, segments: Sequence[SegmentLabel]) -> list[Key]:
        return [(self._row[segment.category_id], segment.id) for segment in segments]


def _joined(frames: Sequence[_Frame]) -> tuple[NDArray[np.int64], list[SegmentLabel], list[SegmentLabel]]:
    """The tubes of some frames, and the pixels that they share."""
    if len(frames) == 1:
        return frames[0].common, list(frames[0].truth), list(frames[0].found)
    truth: dict[SegmentLabel, int] = {}
    found: dict[SegmentLabel, int] = {}
    for frame in frames:
        for segments, tubes in ((frame.truth, truth), (frame.found, found)):
            for segment in segments:
                tubes.setdefault(segment, len(tubes) + 1)
    common = np.zeros((len(truth) + 2, len(found) + 2), dtype=np.int64)
    for frame in frames:
        rows = [0, *(truth[segment] for segment in frame.truth), -1]
        columns = [0, *(found[segment] for segment in frame.found), -1]
        common[np.ix_(rows, columns)] += frame.common
    return common, list(truth), list(found)


def _association(tubes: _Tubes) -> list[float]:
    """Of each true object, how much of it was found under one identity, 0 to 1."""
    sums = {key: 0.0 for key, area in tubes.areas.items() if area}
    for (true, found), shared in tubes.shared.items():
        sums[true] += shared * shared / (tubes.areas[true] + tubes.found[found] - shared)
    return [total / tubes.areas[key] for key, total in sums.items()]
