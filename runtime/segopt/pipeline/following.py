"""The step between results and sinks in which objects get their numbers."""

from __future__ import annotations

from fractions import Fraction

from segopt.errors import UsageError
from segopt.results import Result
from segopt.segmenter import Segmenter
from segopt.sources.base import SourceFrame
from segopt.tracking.tracker import PICTURES_PER_SECOND, Tracker


def tracker_for(segmenter: Segmenter) -> Tracker:
    """A new tracker for one source.

    Raises:
        UsageError: the model has no objects to follow.
    """
    if segmenter.mode == "semantic":
        raise UsageError(
            "--track: semantic results have no objects; leave it out, or use an instance or panoptic model"
        )
    return Tracker()


def follow(tracker: Tracker, frame: SourceFrame, result: Result) -> Result:
    """The frame's result with numbers of its objects; call it with the frames in their order.

    Frames without a time, which are pictures, are taken to be 1/25 s apart.
    """
    return tracker(result, Fraction(frame.index, PICTURES_PER_SECOND) if frame.time is None else frame.time)
