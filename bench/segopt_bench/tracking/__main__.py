"""``python -m segopt_bench.tracking``: trackers on synthetic streets with a swaying camera, in one table.

Each gets the same segments: those of the ground truth without their identities, and those that a model finds; of
every frame, and of every third one. ``trackers`` (ByteTrack, BoT-SORT) is compared with where it is installed:
``pip install trackers supervision``. CPU time is that of a finished map: finding boxes in it,
association, and another map with the new ids.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import segopt
from segopt.errors import SegoptError
from segopt.files.atomic import write_json
from segopt.results import PanopticResult
from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.panoptic_quality import SegmentLabel, SegmentMap
from segopt_bench.evaluation.video_quality import VideoQuality
from segopt_bench.reporting.tables import Table
from segopt_bench.reporting.terminal import as_rich
from segopt_bench.scenes import CATEGORIES, Rendered, render_clip
from segopt_bench.tracking.contenders import Follow, contenders

SEEDS = (31, 4, 9, 18, 29)
SIZE = (432, 768)
RATE = Fraction(15)
STRIDES = (1, 3)
STUFF_AREA = 500
"""As in ``segopt demo``."""

_FIGURES = ("HOTA", "IDF1", "VPQ1", "VPQ5", "VPQ10", "STQ", "AQ", "SQ")


@dataclass(frozen=True)
class Clip:
    """A video, its truth, and what was found in it."""

    truth: list[Rendered]
    found: dict[str, list[PanopticResult]]
    """By where the segments come from."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    tracker: str
    segments: str
    stride: int


@dataclass
class Score:
    """What a row is made of."""

    quality: VideoQuality
    seconds: float = 0.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m segopt_bench.tracking", description=(__doc__ or "").strip())
    parser.add_argument("--engine", type=Path, metavar="FILE", help="a panoptic model of the scenes' classes")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), metavar="S", help="of the scenes")
    parser.add_argument("--frames", type=int, default=90, metavar="N", help="of each, at 15 a second (90)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    try:
        scores = compare(options.seeds, options.frames, options.engine)
        rows = {case: figures_of(score) for case, score in scores.items()}
        if options.json is not None:
            write_json(options.json, [{**vars(case), **figures} for case, figures in rows.items()])
    except SegoptError as error:
        print(error, file=sys.stderr)
        return 1
    from rich.console import Console

    for part in tables(rows):
        Console(width=120).print(as_rich(part))
    return 0


def compare(seeds: Sequence[int], frames: int, engine: Path | None) -> dict[Case, Score]:
    """Every tracker on every scene.

    Raises:
        SegoptError: the model does not load or run.
    """
    classes = [TruthClass(entry.id, entry.name, entry.is_thing) for entry in CATEGORIES]
    scores: dict[Case, Score] = {}
    for clip in _clips(seeds, frames, engine):
        for name, segments, stride in _cases(clip):
            make = contenders(float(RATE / stride))[name]
            score = scores.setdefault(Case(name, segments, stride), Score(VideoQuality(classes)))
            score.quality.begin()
            _follow(clip, segments, stride, make(), score)
    return scores


def figures_of(score: Score) -> dict[str, Any]:
    """A row's figures, 0 to 1, with the number of switches and milliseconds a frame."""
    frames = max(score.quality.frames, 1)
    return {
        **score.quality.figures(),
        "switches": score.quality.switches,
        "milliseconds": 1000 * score.seconds / frames,
    }


def tables(rows: dict[Case, dict[str, Any]]) -> Iterator[Table]:
    """A table for each origin of segments and each stride, for people; in percent."""
    for segments, stride in dict.fromkeys((case.segments, case.stride) for case in rows):
        every = "every frame" if stride == 1 else f"every {stride}rd frame" if stride == 3 else f"1 of {stride}"
        own = {case: row for case, row in rows.items() if (case.segments, case.stride) == (segments, stride)}
        yield Table(
            f"{segments}, {every}",
            ("", "switches", *_FIGURES, "CPU ms"),
            tuple(
                (
                    case.tracker,
                    str(row["switches"]),
                    *("-" if row[name] is None else f"{100 * row[name]:.1f}" for name in _FIGURES),
                    f"{row['milliseconds']:.2f}",
                )
                for case, row in own.items()
            ),
        )


def _clips(seeds: Sequence[int], frames: int, engine: Path | None) -> Iterator[Clip]:
    segmenter = None if engine is None else segopt.load(engine, stuff_area=STUFF_AREA)
    for seed in seeds:
        truth, found = [], []
        for rendered in render_clip(seed, SIZE, frames=frames, rate=RATE):
            truth.append(rendered)
            if segmenter is not None:
                result = segmenter(rendered.frame)
                assert isinstance(result, PanopticResult)
                found.append(result)
        results = {"ground truth without ids": [without_ids(rendered) for rendered in truth]}
        yield Clip(truth, {**results, "the model's segments": found} if found else results)


def without_ids(rendered: Rendered) -> PanopticResult:
    """The truth as a network would say it: segments are numbered by their size in this frame."""
    whole = rendered.panoptic()
    order = sorted(whole.segments, key=lambda segment: (not segment.is_thing, -segment.area))
    numbers = {segment.id: number for number, segment in enumerate(order, start=1)}
    return whole.with_ids([replace(segment, id=numbers[segment.id]) for segment in whole.segments])


def _cases(clip: Clip) -> Iterator[tuple[str, str, int]]:
    for segments in clip.found:
        for stride in STRIDES:
            for name in contenders(float(RATE)):
                yield name, segments, stride


def _follow(clip: Clip, segments: str, stride: int, follow: Follow, score: Score) -> None:
    for i in range(0, len(clip.truth), stride):
        rendered, result = clip.truth[i], clip.found[segments][i]
        began = time.process_time()
        tracked = follow(rendered.frame, result, float(i / RATE))
        score.seconds += time.process_time() - began
        score.quality.add(_map_of(rendered.panoptic()), _map_of(tracked))


def _map_of(result: PanopticResult) -> SegmentMap:
    labels = [SegmentLabel(segment.id, segment.category_id) for segment in result.segments]
    return SegmentMap(result.segment_map, labels)


if __name__ == "__main__":
    sys.exit(main())
