"""Times several contenders in turn, on the same pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segopt.frame import Frame
from segopt.results import InstanceResult, PanopticResult, Result, SemanticResult
from segopt.stages import Stages
from segopt_bench.reporting.spread import Spread, paired_ratio
from segopt_bench.reporting.stages import Timing, time_call

Progress = Callable[[int, int], None]
"""Is told how many calls are done, of how many."""

_REST_SECONDS = 0.02
"""Between two contenders. The threads of ONNX Runtime's and of PyTorch's pools spin for a while after a call, and
would take the cores from whoever comes next."""


@dataclass(frozen=True)
class Contender:
    """Somebody who does the job."""

    name: str
    """Unique in its group: software, device and precision, such as ``ONNX Runtime 1.20 (CPU), fp32``."""
    precision: str
    segmenter: Stages
    file: str | None = None
    """Of an engine."""


@dataclass(frozen=True)
class Measured:
    """What was measured of one contender."""

    name: str
    precision: str
    file: str | None
    timings: tuple[Timing, ...]
    """One for each round."""
    objects: Spread
    """How many objects or segments a frame had; of a semantic result, classes."""
    agreement: float | None
    """Share of pixels whose class is that of the first contender's result; None for the first itself."""
    unconverged: float = 0.0
    """Share of frames on which the graph's suppression did not converge."""

    @property
    def total(self) -> Spread:
        """Milliseconds a frame, the whole timed region."""
        return Spread.of([timing.total for timing in self.timings])

    @property
    def draw(self) -> Spread:
        """Milliseconds a frame to draw the result."""
        return Spread.of([timing.draw for timing in self.timings])

    def stage(self, name: str) -> Spread:
        """Milliseconds a frame in one stage."""
        return Spread.of([timing.stages[name] for timing in self.timings])

    def times_as_fast_as(self, other: Measured) -> Spread:
        """Round by round, over the whole timed region."""
        return paired_ratio([t.total for t in other.timings], [t.total for t in self.timings])


def run_rounds(
    contenders: Sequence[Contender],
    batches: Sequence[Sequence[Frame]],
    *,
    rounds: int,
    warmup: int,
    progress: Progress = lambda _done, _all: None,
) -> list[Measured]:
    """Let the contenders take turns.

    In each round every contender gets the same batch of frames once; who begins changes from round to round.

    Args:
        contenders: one or more that give the same kind of result.
        batches: frames for each call; round ``i`` takes batch ``i`` modulo their number.
        rounds: that are measured.
        warmup: rounds before those, which are not.
        progress: called after each call.
    """
    timings: list[list[Timing]] = [[] for _ in contenders]
    objects: list[list[int]] = [[] for _ in contenders]
    converged: list[list[bool]] = [[] for _ in contenders]
    maps: list[dict[int, list[NDArray[np.integer]]]] = [{} for _ in contenders]
    calls = len(contenders) * (warmup + rounds)
    done = 0
    for i in range(-warmup, rounds):
        picture = i % len(batches)
        for turn in range(len(contenders)):
            k = (turn + i) % len(contenders)
            time.sleep(_REST_SECONDS)
            timing, results = time_call(contenders[k].segmenter, batches[picture])
            if i >= 0:
                timings[k].append(timing)
                objects[k] += [count_objects(result) for result in results]
                converged[k] += [result.converged for result in results]
                if picture not in maps[k]:
                    maps[k][picture] = [class_map(result) for result in results]
            done += 1
            progress(done, calls)
    return [
        Measured(
            contender.name,
            contender.precision,
            contender.file,
            tuple(timings[k]),
            Spread.of(objects[k]),
            None if k == 0 else _agreement(maps[0], maps[k]),
            1 - float(np.mean(converged[k])),
        )
        for k, contender in enumerate(contenders)
    ]


def count_objects(result: Result) -> int:
    """How many objects, segments or classes a result has."""
    if isinstance(result, InstanceResult):
        return len(result)
    if isinstance(result, PanopticResult):
        return len(result.segments)
    return len(np.unique(result.classes))


def class_map(result: Result) -> NDArray[np.integer]:
    """The class of each pixel, [H, W]: what results of every kind can be compared by. -1 where there is none."""
    if isinstance(result, SemanticResult):
        return result.classes
    if isinstance(result, PanopticResult):
        class_of = np.full(len(result.segments) + 1, -1, dtype=np.int32)
        for segment in result.segments:
            class_of[segment.id] = segment.category_id
        return class_of[result.segment_map]
    classes = np.full(result.size, -1, dtype=np.int32)
    for crop, label in reversed(list(zip(result.crops, result.labels, strict=True))):
        np.copyto(classes[crop.window], label, where=crop.mask)
    return classes


def _agreement(first: dict[int, list[NDArray[np.integer]]], other: dict[int, list[NDArray[np.integer]]]) -> float:
    equal = [float(np.mean(a == b)) for key, maps in first.items() for a, b in zip(maps, other[key], strict=True)]
    return float(np.mean(equal))
