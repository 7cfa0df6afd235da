"""Evaluators: each takes results of one kind, picture by picture, holds them against ground truth, and sums up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from segopt.model.categories import Category
from segopt.results import InstanceResult, PanopticResult, Result, SemanticResult
from segopt.tracking.tracker import Tracker
from segopt_bench.evaluation.average_precision import AveragePrecision
from segopt_bench.evaluation.classes import ClassMatch, TruthClass, match_classes
from segopt_bench.evaluation.mean_iou import MeanIoU
from segopt_bench.evaluation.panoptic_quality import PanopticQuality, SegmentLabel, SegmentMap
from segopt_bench.evaluation.problems import LeftOut, LeftOutError
from segopt_bench.evaluation.scores import KNOWN, Figures, Scores
from segopt_bench.evaluation.tracking_quality import tracking_notes
from segopt_bench.evaluation.truth import InstanceTruth, PanopticTruth, SemanticOfPanoptic, SemanticTruth, Size
from segopt_bench.evaluation.video_quality import VideoQuality


class Evaluator(Protocol):
    """Sums up over pictures."""

    measure: str
    """``semantic``, ``instance`` or ``panoptic``."""

    @property
    def count(self) -> int:
        """Pictures that were added."""

    @property
    def keys(self) -> Collection[str]:
        """The pictures that there is ground truth for."""

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures must know."""

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """Annotations of the ground truth that cannot be evaluated."""

    def add(self, key: str, result: Result) -> None:
        """Take one picture's result.

        Raises:
            LeftOutError: this picture cannot be evaluated; nothing was counted.
        """

    def scores(self) -> list[Scores]:
        """The figures so far."""


class SemanticEvaluator:
    """Mean IoU of :class:`~segopt.results.SemanticResult`; errors as :func:`match_classes`."""

    measure = "semantic"

    def __init__(self, truth: SemanticTruth | SemanticOfPanoptic, found: Sequence[Category]) -> None:
        self.truth = truth
        self._notes: list[str] = []
        if truth.classes is None:
            self.classes = tuple(TruthClass(entry.id, entry.name, entry.is_thing) for entry in found)
            self._notes.append(
                f"semantic: {truth.source.parent} has no classes.json, so its indices are taken to be the engine's"
            )
        else:
            self.classes = truth.classes
        self.match = match_classes(found, self.classes, truth.source)
        self._iou = MeanIoU(self.classes, self.match.to_truth)
        self.count = 0

    @property
    def keys(self) -> Collection[str]:
        """See :class:`Evaluator`."""
        return self.truth.pictures.keys()

    @property
    def notes(self) -> list[str]:
        """See :class:`Evaluator`."""
        return [*self._notes, *self.match.notes(self.measure)]

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """See :class:`Evaluator`."""
        return ()

    def add(self, key: str, result: Result) -> None:
        """See :class:`Evaluator`."""
        assert isinstance(result, SemanticResult)
        truth = self.truth.read(key, self.classes)
        _check_size(truth.shape, result.size)
        self._iou.add(truth, result.classes)
        self.count += 1

    def scores(self) -> list[Scores]:
        """See :class:`Evaluator`."""
        totals = _totals(self.classes, self.match, self._iou.mean_of, kinds=False)
        return [Scores("semantic", self.count, totals, _each(self.classes, self._iou.of_class))]


class InstanceEvaluator:
    """Box and mask AP of :class:`~segopt.results.InstanceResult`; errors as :func:`match_classes`."""

    measure = "instance"

    def __init__(self, truth: InstanceTruth, found: Sequence[Category]) -> None:
        self.truth = truth
        self.match = match_classes(found, truth.classes, truth.source)
        self._results: list[dict[str, Any]] = []
        self._images: list[int] = []

    @property
    def keys(self) -> Collection[str]:
        """See :class:`Evaluator`."""
        return self.truth.pictures.keys()

    @property
    def count(self) -> int:
        """See :class:`Evaluator`."""
        return len(self._images)

    @property
    def notes(self) -> list[str]:
        """See :class:`Evaluator`."""
        notes = self.match.notes(self.measure)
        if not self.truth.has_masks:
            notes.append(f"instance: {self.truth.source} has objects without masks, so boxes alone are evaluated")
        return notes

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """See :class:`Evaluator`."""
        return self.truth.left_out

    def add(self, key: str, result: Result) -> None:
        """See :class:`Evaluator`."""
        assert isinstance(result, InstanceResult)
        image = self.truth.pictures[key]
        _check_size((image["height"], image["width"]), result.size)
        self._images.append(image["id"])
        for entry in result.to_coco(image["id"]):
            category = self.match.to_truth.get(entry["category_id"])
            if category is not None:
                self._results.append({**entry, "category_id": category})

    def scores(self) -> list[Scores]:
        """See :class:`Evaluator`."""
        found = []
        for measure, kind in (("boxes", "bbox"), ("masks", "segm")):
            if kind == "segm" and not self.truth.has_masks:
                continue
            precision = AveragePrecision(
                kind, self.truth.document, self.truth.classes, self._images, self._results
            )
            totals = _totals(self.truth.classes, self.match, precision.of, kinds=False)
            rows = {entry.name: precision.of([entry.id]) for entry in self.truth.classes}
            found.append(Scores(measure, self.count, totals, rows))
        return found


class PanopticEvaluator:
    """PQ of panoptic maps, and of frames of a video VPQ, STQ and more; errors as :func:`match_classes`.

    Results of a video's frames, which come in their order, are followed by :class:`segopt.Tracker`.
    """

    measure = "panoptic"

    def __init__(self, truth: PanopticTruth, found: Sequence[Category]) -> None:
        self.truth = truth
        self.match = match_classes(found, truth.classes, truth.source)
        self._quality = PanopticQuality(truth.classes)
        is_video = any(entry.video is not None for entry in truth.pictures.values())
        self._video = VideoQuality(truth.classes) if is_video else None
        self._tracker = Tracker()
        self._current: int | str | None = None
        self._followed: int | str | None = None
        self.count = 0

    @property
    def keys(self) -> Collection[str]:
        """See :class:`Evaluator`."""
        return self.truth.pictures.keys()

    @property
    def notes(self) -> list[str]:
        """See :class:`Evaluator`."""
        notes = self.match.notes(self.measure)
        if self._video is not None:
            notes += tracking_notes()
        return notes

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """See :class:`Evaluator`."""
        return self.truth.left_out

    def add(self, key: str, result: Result) -> None:
        """See :class:`Evaluator`."""
        entry = self.truth.pictures[key]
        if entry.video is not None:
            if entry.video != self._followed:
                self._tracker, self._followed = Tracker(), entry.video
            result = self._tracker(result, entry.time)
        assert isinstance(result, PanopticResult)
        labels = [SegmentLabel(segment.id, segment.category_id) for segment in result.segments]
        self.add_map(key, SegmentMap(result.segment_map, labels))

    def add_map(self, key: str, found: SegmentMap) -> None:
        """Take a map whose categories are the engine's own; as :meth:`add`."""
        truth = self.truth.read(key)
        _check_size(truth.ids.shape, found.ids.shape)
        to_truth = self.match.to_truth
        labels = [
            SegmentLabel(segment.id, to_truth[segment.category_id])
            for segment in found.segments
            if segment.category_id in to_truth
        ]
        ids = found.ids
        if unknown := [segment.id for segment in found.segments if segment.category_id not in to_truth]:
            ids = np.where(np.isin(ids, unknown), 0, ids)
        own = SegmentMap(ids, labels)
        self._quality.add(truth, own)
        self.count += 1
        video = self.truth.pictures[key].video
        if self._video is not None and video is not None:
            if video != self._current:
                self._video.begin()
                self._current = video
            self._video.add(truth, own)

    def scores(self) -> list[Scores]:
        """See :class:`Evaluator`."""
        classes = self.truth.classes
        totals = _totals(classes, self.match, self._quality.mean_of, kinds=True)
        scores = [Scores("panoptic", self.count, totals, _each(classes, self._quality.of_class))]
        if self._video is not None and self._video.frames:
            counts = {"id switches": self._video.switches}
            scores.append(Scores("video", self._video.frames, {"all": self._video.figures()}, {}, counts))
        return scores


def _each(classes: Sequence[TruthClass], figures: Callable[[int], Figures]) -> dict[str, Figures]:
    return {entry.name: figures(entry.id) for entry in classes}


def _totals(
    classes: Sequence[TruthClass],
    match: ClassMatch,
    figures: Callable[[Collection[int]], Figures],
    *,
    kinds: bool,
) -> Mapping[str, Figures]:
    totals = {"all": figures([entry.id for entry in classes])}
    if kinds:
        totals["things"] = figures([entry.id for entry in classes if entry.is_thing])
        totals["stuff"] = figures([entry.id for entry in classes if not entry.is_thing])
    if match.differs:
        totals[KNOWN] = figures([entry.id for entry in classes if entry.id in match.shared])
    return totals


def _check_size(truth: tuple[int, ...], found: Size | tuple[int, ...]) -> None:
    if tuple(truth) != tuple(found):
        sizes = " and ".join(f"{width}x{height}" for height, width in (truth, found))
        raise LeftOutError(f"its annotation and its picture differ in size ({sizes})")
