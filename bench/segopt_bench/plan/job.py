"""``python -m segopt_bench.plan.job``: measures one model in a process of its own, whose memory can be seen.

Takes a :class:`Request` as JSON, and writes what it found, or the error of one line, to a file.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segopt.backends.openvino_compile import InferencePrecision
from segopt.errors import SegoptError
from segopt.files.atomic import write_json
from segopt.frame import Frame
from segopt.pipeline.clock import StageTime, slowest
from segopt.pipeline.many import Feed, run_many
from segopt.pipeline.run import RunStats, run_pipeline
from segopt.segmenter import Segmenter, load
from segopt.sinks.making import make_sinks
from segopt_bench.latency.pictures import Pictures, scene_pictures, source_pictures
from segopt_bench.plan.cameras import Camera
from segopt_bench.reporting.spread import Spread
from segopt_bench.reporting.stages import time_call

_WARMUP = 2
_REST_SECONDS = 0.02
_FRAMES_A_ROUND = 4
_SECONDS = 6.0
"""For which each number of cameras is measured, at most; see :class:`Camera`."""


@dataclass(frozen=True)
class Request:
    """What to measure."""

    engine: str
    device: str
    data: str | None
    """Source of the pictures; None takes synthetic scenes of the canvas's size."""
    pictures: int
    rounds: int
    """Calls that the latency is the median of, and a quarter of the frames that a camera gives at most."""
    cameras: tuple[int, ...]
    """Numbers of cameras to measure."""
    inference_precision: InferencePrecision | None = None
    """OpenVINO's."""


@dataclass(frozen=True)
class Load:
    """A number of cameras at once, each with its drawn results as a video."""

    cameras: int
    fps: float
    """Of each; of the slowest where they differ."""
    limit: str
    """The stage that worked longest, as :class:`segopt.pipeline.run.RunStats` names it."""
    busy: float
    """The share of the time for which it did."""
    stages: dict[str, float]
    """Median milliseconds a frame of each stage."""


@dataclass(frozen=True)
class Found:
    """What a model costs."""

    title: str
    """Its runtime, precision and canvas."""
    frames: str
    """Where the pictures came from, and how they lie on the canvas."""
    latency: Spread
    """Milliseconds from one frame in memory to its result, with nothing beside it."""
    loads: tuple[Load, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Found:
        """What :meth:`to_json` gave."""
        return cls(
            data["title"],
            data["frames"],
            Spread(**data["latency"]),
            tuple(Load(**each) for each in data["loads"]),
            tuple(data["notes"]),
        )


def measure(request: Request) -> Found:
    """Measure one model in this process.

    Raises:
        SegoptError: it does not load or run, or the pictures cannot be read.
    """
    with load(request.engine, request.device, inference_precision=request.inference_precision) as segmenter:
        card = segmenter.card
        pictures = (
            scene_pictures(request.pictures, card.canvas)
            if request.data is None
            else source_pictures(request.data, request.pictures)
        )
        title = f"{segmenter.backend.name}, {card.precision}, canvas {{}}x{{}}".format(*card.canvas)
        latency = _latency(segmenter, pictures, request.rounds)
        most = _FRAMES_A_ROUND * request.rounds
        return Found(
            title=title,
            frames=f"{pictures.origin}, {pictures.fit(card.canvas)}",
            latency=latency,
            loads=tuple(_load(segmenter, pictures.frames, count, most) for count in request.cameras),
            notes=(*segmenter.notes, *pictures.notes),
        )


def _latency(segmenter: Segmenter, pictures: Pictures, rounds: int) -> Spread:
    """One frame at a time: the other slots of a batch are padding."""
    taken = []
    for i in range(-_WARMUP, rounds):
        time.sleep(_REST_SECONDS)
        timing, _ = time_call(segmenter, [pictures.frames[i % len(pictures.frames)]])
        if i >= 0:
            taken.append(timing.total)
    return Spread.of(taken)


def _load(segmenter: Segmenter, frames: Sequence[Frame], count: int, most: int) -> Load:
    sources = [Camera(i, frames, most=most, seconds=_SECONDS) for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        feeds = [
            Feed(source, make_sinks(["overlay"], Path(folder) / source.name, source, segmenter.mode))
            for source in sources
        ]
        if count == 1:
            # One source has a pipeline of its own, as in `segopt run`.
            stats = [run_pipeline(sources[0], segmenter, feeds[0].sinks, batch=segmenter.batch)]
        else:
            interrupt = run_many(feeds, segmenter, batch=segmenter.batch)
            if interrupt is not None:
                raise interrupt
            for feed in feeds:
                if feed.error is not None:
                    raise feed.error
            stats = [feed.stats for feed in feeds if feed.stats is not None]
    return summarize(stats)


def summarize(stats: Sequence[RunStats]) -> Load:
    """Runs of several cameras at once, as one figure each.

    Each camera has stages of its own, but for the network, which they share: the limit is the busiest of all.
    """
    stages: dict[str, StageTime] = {}
    for each in stats:
        for name, stage in each.stages.items():
            if name not in stages or stage.busy > stages[name].busy:
                stages[name] = stage
    limit = slowest(stages)
    seconds = max(each.seconds for each in stats)
    return Load(
        cameras=len(stats),
        fps=min(each.frames for each in stats) / seconds,
        limit=limit,
        busy=stages[limit].busy / seconds,
        stages={name: stage.frame_ms for name, stage in stages.items()},
    )


def main(arguments: Sequence[str]) -> int:
    """Measure what the first argument says, and write it to the file that the second names."""
    asked = json.loads(arguments[0])
    request = Request(**{**asked, "cameras": tuple(asked["cameras"])})
    try:
        answer: dict[str, Any] = {"found": measure(request).to_json()}
    except SegoptError as error:
        answer = {"error": str(error)}
    write_json(Path(arguments[1]), answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
