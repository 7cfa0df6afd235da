"""Results with the numbers of their objects: the same object has the same number in every frame."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import cv2
import numpy as np

from segopt.errors import UsageError
from segopt.masks.crop import MaskCrop
from segopt.model.categories import Category
from segopt.results import InstanceResult, PanopticResult, Result
from segopt.segment import Segment
from segopt.tracking.association import Boxes
from segopt.tracking.tracks import Tracks

PICTURES_PER_SECOND = 25
"""Where frames have no time, so many are taken to be a second."""


class Tracker:
    """Follows the objects of one video: call it with its results one after the other.

    Objects are found again by the boxes of what is seen of them, which are expected to move on as they did; one
    that was out of sight for a second is a new one when it comes back. A number is never given twice, and numbers
    begin above the largest category id: in a panoptic map the id of a thing is its number, that of stuff its
    category's.

    >>> tracker = segopt.Tracker()  # doctest: +SKIP
    >>> for item in segopt.stream(segmenter, "street.mp4"):  # doctest: +SKIP
    ...     result = tracker(item.result, item.time)
    ...     print([(segment.name, segment.track) for segment in result if segment.is_thing])

    For one video and one thread.
    """

    def __init__(self) -> None:
        self._categories: tuple[Category, ...] | None = None
        self._tracks = Tracks(1)
        self._void_stuff = 0
        self._time: float | None = None

    @property
    def count(self) -> int:
        """How many objects there were so far."""
        return self._tracks.count

    def __call__(self, result: Result, time: Fraction | float | None = None) -> Result:
        """The result with its objects' numbers; the one that is given stays as it is.

        Args:
            result: an instance or panoptic result of the next frame.
            time: of that frame in seconds, on a clock that does not run back, as ``Finished.time`` has it; None
                is 1/25 s after the frame before.

        Returns:
            For a panoptic result one with other ids in ``segment_map`` and ``segments``, whose things have
            ``track`` and ``age``; for an instance result one with ``tracks`` and ``ages``.

        Raises:
            UsageError: a semantic result, which has no objects; or one of a model with other classes than before.
        """
        if not isinstance(result, InstanceResult | PanopticResult):
            raise UsageError(
                f"a tracker follows objects, "
                f"and {type(result).__name__} has none; use an instance or panoptic model"
            )
        self._check_classes(result)
        now = self._now(time)
        return self._instances(result, now) if isinstance(result, InstanceResult) else self._panoptic(result, now)

    def _check_classes(self, result: InstanceResult | PanopticResult) -> None:
        if self._categories is None:
            largest = max((category.id for category in result.categories), default=0)
            self._categories = result.categories
            # 0 is void in a map, whatever category has it.
            self._void_stuff = largest + 1
            self._tracks = Tracks(largest + 2 if any(c.id == 0 for c in result.categories) else largest + 1)
        elif result.categories is not self._categories and result.categories != self._categories:
            raise UsageError(
                "a tracker follows one model's results; take a new segopt.Tracker() for other classes"
            )

    def _now(self, time: Fraction | float | None) -> float:
        before = self._time
        if time is None:
            now = 0.0 if before is None else before + 1 / PICTURES_PER_SECOND
        else:
            now = float(time) if before is None else max(float(time), before)
        self._time = now
        return now

    def _instances(self, result: InstanceResult, now: float) -> InstanceResult:
        boxes = np.array(
            [_box_of(crop, box) for crop, box in zip(result.crops, result.boxes, strict=True)], dtype=np.float32
        )
        found = self._tracks.follow(boxes.reshape(-1, 4), result.labels.astype(np.int64), now)
        return dataclasses.replace(
            result,
            tracks=np.array([who.number for who in found], dtype=np.int32),
            ages=np.array([now - who.since for who in found], dtype=np.float32),
            shades=np.array([who.shade for who in found], dtype=np.int32),
        )

    def _panoptic(self, result: PanopticResult, now: float) -> PanopticResult:
        things = [segment for segment in result.segments if segment.is_thing]
        labels = np.array([thing.category_id for thing in things], dtype=np.int64)
        found = iter(self._tracks.follow(result.thing_boxes(), labels, now))
        # dataclasses.replace takes three times as long, and there are many.
        segments = [
            Segment(
                who.number, s.category_id, True, s.score, s.area, s.name, who.number, now - who.since, who.shade
            )
            if s.is_thing and (who := next(found))
            else Segment(s.category_id or self._void_stuff, s.category_id, False, s.score, s.area, s.name)
            for s in result.segments
        ]
        return result.with_ids(segments)


def _box_of(crop: MaskCrop, box: Boxes) -> tuple[float, float, float, float]:
    """Of what a mask shows, x0, y0, x1, y1; of an empty one the detector's."""
    x, y, width, height = cv2.boundingRect(crop.mask.view(np.uint8)) if crop.mask.size else (0, 0, 0, 0)
    if width == 0:
        x0, y0, x1, y1 = box.tolist()
        return x0, y0, x1, y1
    return crop.x + x, crop.y + y, crop.x + x + width, crop.y + y + height
