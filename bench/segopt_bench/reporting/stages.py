"""The stages of a frame, and how long one call spends in each."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segopt.frame import Frame
from segopt.results import PanopticResult, Result
from segopt.stages import Stages

STAGES: Mapping[str, str] = {
    "letterbox": "frames onto the canvas: resize and pad",
    "network": "pixels in, the network, its outputs out; copies to and from a GPU are in it",
    "decode": "outputs to boxes, scores, small masks and label map of each frame, in the frame's own coordinates",
    "merge": "masks onto the frame's pixels; panoptic: instances and stuff into one map",
}
"""What each stage holds, in the order in which a frame passes them. Together they are the timed region."""
TIMED_REGION = (
    "from frames in memory (uint8, BGR) to results in memory at the frames' own resolution; reading files and "
    "drawing are not in it"
)


@dataclass(frozen=True)
class Timing:
    """Milliseconds a frame that one call took."""

    stages: Mapping[str, float]
    """By the names of :data:`STAGES`."""
    total: float
    """The whole timed region, by a clock of its own."""
    draw: float
    """Drawing the results; not in ``total``."""


def time_call(segmenter: Stages, frames: Sequence[Frame]) -> tuple[Timing, list[Result]]:
    """Run a batch of frames once through all stages."""
    marks = [time.perf_counter()]
    prepared = segmenter.prepare(frames)
    marks.append(time.perf_counter())
    outputs = segmenter.infer(prepared)
    marks.append(time.perf_counter())
    found = segmenter.decode(prepared, outputs)
    marks.append(time.perf_counter())
    results = [segmenter.assemble(each) for each in found]
    for result in results:
        if isinstance(result, PanopticResult):
            # It is made when it is first asked for.
            _ = result.segment_map
    marks.append(time.perf_counter())
    for frame, result in zip(frames, results, strict=True):
        result.draw(frame)
    drawn = time.perf_counter()
    a_frame = 1000 / len(frames)
    laps = (end - start for start, end in itertools.pairwise(marks))
    stages = {name: seconds * a_frame for name, seconds in zip(STAGES, laps, strict=True)}
    return Timing(stages, (marks[-1] - marks[0]) * a_frame, (drawn - marks[-1]) * a_frame), results
