"""The trackers that are compared, each as a function from a frame's result to one with ids."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import segopt
from segopt.frame import Frame
from segopt.results import PanopticResult

Follow = Callable[[Frame, PanopticResult, float], PanopticResult]
"""Frame, result and time in seconds; the result with ids that last."""

OURS = "segopt"


def contenders(rate: float) -> dict[str, Callable[[], Follow]]:
    """Makers of trackers for one video of so many frames a second; those that are installed."""
    found: dict[str, Callable[[], Follow]] = {"no tracking": lambda: _fresh, OURS: _ours}
    try:
        from trackers import BoTSORTTracker, ByteTrackTracker
    except ImportError:
        return found
    # All that is found has an identity at once, as with ours; the rest is as the package has it.
    options = {"frame_rate": rate, "minimum_consecutive_frames": 1, "track_activation_threshold": 0.5}
    found["ByteTrack"] = lambda: _PerClass(lambda: ByteTrackTracker(**options), sees=False)
    found["BoT-SORT"] = lambda: _PerClass(lambda: BoTSORTTracker(**options), sees=True)
    return found


def _ours() -> Follow:
    tracker = segopt.Tracker()

    def follow(_: Frame, result: PanopticResult, time: float) -> PanopticResult:
        tracked = tracker(result, time)
        assert isinstance(tracked, PanopticResult)
        return tracked

    return follow


def _fresh(_: Frame, result: PanopticResult, __: float) -> PanopticResult:
    return result


class _PerClass:
    """A tracker of the package `trackers` for each class, so that none takes a person for a car."""

    def __init__(self, make: Callable[[], Any], *, sees: bool) -> None:
        self._make = make
        self._sees = sees
        """Whether it looks at the frame, to find how the camera moved."""
        self._trackers: dict[int, Any] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._next = itertools.count(1 << 12)

    def __call__(self, frame: Frame, result: PanopticResult, _: float) -> PanopticResult:
        things = [segment for segment in result.segments if segment.is_thing]
        boxes = result.thing_boxes()
        labels = np.array([thing.category_id for thing in things], dtype=np.int64)
        scores = np.array([thing.score for thing in things], dtype=np.float32)
        numbers = np.zeros(len(things), dtype=np.int64)
        for label in {*self._trackers, *labels.tolist()}:
            own = np.flatnonzero(labels == label)
            numbers[own] = self._of_class(label, boxes[own], scores[own], frame)
        given = iter(numbers.tolist())
        segments = [
            dataclasses.replace(segment, id=next(given) if segment.is_thing else segment.category_id)
            for segment in result.segments
        ]
        return result.with_ids(segments)

    def _of_class(
        self, label: int, boxes: NDArray[np.float32], scores: NDArray[np.float32], frame: Frame
    ) -> list[int]:
        import supervision

        tracker = self._trackers.setdefault(label, None) or self._make()
        self._trackers[label] = tracker
        found = supervision.Detections(
            xyxy=boxes,
            confidence=scores,
            class_id=np.full(len(boxes), label),
            data={"place": np.arange(len(boxes))},
        )
        tracked = tracker.update(found, frame) if self._sees else tracker.update(found)
        numbers = [next(self._next) for _ in range(len(boxes))]
        ids = [] if tracked.tracker_id is None else tracked.tracker_id.tolist()
        for place, identity in zip(tracked.data.get("place", []), ids, strict=False):
            if identity >= 0:
                numbers[int(place)] = self._numbers.setdefault((label, int(identity)), numbers[int(place)])
        return numbers
