"""``python -m segopt_bench.merging``: time paste and panoptic merge, alone and on synthetic detections.

Everybody gets the same boxes, 28x28 masks and label map, on the CPU, and takes turns. A turn begins with a rest
and lasts for some calls in a row: the first one, whose memory and instructions the others have driven out of the
caches, and those after it. Both are shown: between two frames of a video something else always runs. Times are
medians; so are the ratios to segopt's, which are taken round by round, in brackets their 5th and 95th percentile.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from segopt.errors import SegoptError
from segopt.files.atomic import write_json
from segopt_bench.merging.cases import LONGEST, SHORTEST, Case, make_case
from segopt_bench.merging.mergers import OURS, WRITE, Job, jobs, largest_planes
from segopt_bench.reporting.machine import conditions, describe_machine, this_moment, warnings
from segopt_bench.reporting.spread import Spread, paired_ratio
from segopt_bench.reporting.tables import NOTHING, Table, milliseconds, spread
from segopt_bench.reporting.terminal import as_rich

_MEMORY_SHARE = 0.3
"""Of the machine's memory: a case whose planes are larger is left to those who make none."""
_REST_SECONDS = 0.01
_TURN_SECONDS = 0.05


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m segopt_bench.merging", description=(__doc__ or "").strip())
    parser.add_argument(
        "--sizes",
        type=_sizes,
        default=[(720, 1280), (1080, 1920), (2160, 3840)],
        metavar="HxW,...",
        help="of the frames (720x1280,1080x1920,2160x3840)",
    )
    parser.add_argument("--counts", type=_counts, default=[0, 5, 20, 100], metavar="N,...", help="of instances")
    parser.add_argument("--rounds", type=_count, default=7, metavar="N", help="measured, after one of warm-up (7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, every round too")
    options = parser.parse_args(arguments)

    from rich.console import Console

    console = Console()
    machine, before = describe_machine(), this_moment()
    found = []
    for size in options.sizes:
        for count in options.counts:
            timed = time_case(make_case(count, size), options.rounds, machine.memory_gib)
            found.append(timed)
            console.print(as_rich(table(timed)))
            console.print(f"{agreement(timed)}\n")
    after = this_moment()
    print(f"boxes of {SHORTEST} to {LONGEST} px a side; medians of {options.rounds} rounds in turn")
    print(f"{machine.cpu}, {machine.cores} cores; load average {conditions(before, after)['load average']}")
    doubts = warnings(before, after, machine.cores)
    for doubt in doubts:
        print(f"doubtful: {doubt}")
    if options.json is not None:
        try:
            write_json(options.json, {"cases": found, "conditions": conditions(before, after), "warnings": doubts})
        except SegoptError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def time_case(case: Case, rounds: int, memory_gib: float | None) -> dict[str, Any]:
    """Milliseconds of everybody in each round, and how many pixels they have otherwise than segopt.

    ``milliseconds`` are of a call among others in a row, ``first_milliseconds`` of the first one.
    """
    merging = jobs(case)
    left_out = []
    if memory_gib is not None and largest_planes(case) > _MEMORY_SHARE * memory_gib * 2**30:
        left_out = [name for name in merging if name not in (OURS, WRITE)]
    for name in left_out:
        del merging[name]
    maps = {name: job() for name, job in merging.items()}
    own = maps[OURS]
    in_a_row: dict[str, list[float]] = {name: [] for name in merging}
    first: dict[str, list[float]] = {name: [] for name in merging}
    names = list(merging)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            calls = _turn(merging[name])
            in_a_row[name].append(statistics.median(calls))
            first[name].append(calls[0])
    return {
        "instances": len(case.boxes),
        "size": list(case.size),
        "milliseconds": in_a_row,
        "first_milliseconds": first,
        "different_pixels": {
            name: int(np.count_nonzero(map_ != own))
            for name, map_ in maps.items()
            if map_ is not None and name not in (OURS, WRITE)
        },
        "left_out": left_out,
    }


def table(timed: dict[str, Any]) -> Table:
    """One case for people."""
    height, width = timed["size"]
    rows = []
    for name in timed["milliseconds"]:
        cells = [name]
        for times in (timed["milliseconds"], timed["first_milliseconds"]):
            cells.append(milliseconds(Spread.of(times[name]).median))
            cells.append(NOTHING if name == OURS else _times(paired_ratio(times[name], times[OURS])))
        rows.append(tuple(cells))
    rows += [(name, "needs more memory", *[NOTHING] * 3) for name in timed["left_out"]]
    return Table(
        f"{timed['instances']} instances on {width}x{height}",
        ("", "in a row, ms", "ratio", "first, ms", "ratio"),
        tuple(rows),
    )


def agreement(timed: dict[str, Any]) -> str:
    """How far the maps of one case are the same, for people."""
    others = {name: pixels for name, pixels in timed["different_pixels"].items() if pixels}
    return "; ".join(f"{name}: {pixels} pixels otherwise" for name, pixels in others.items()) or "maps are equal"


def _times(ratio: Spread) -> str:
    return f"{milliseconds(ratio.median)} ({spread(ratio)})"


def _turn(job: Job) -> list[float]:
    """Milliseconds of some calls in a row, at least one."""
    time.sleep(_REST_SECONDS)
    calls: list[float] = []
    end = time.perf_counter() + _TURN_SECONDS
    while not calls or time.perf_counter() < end:
        began = time.perf_counter()
        job()
        calls.append(1000 * (time.perf_counter() - began))
    return calls


def _sizes(text: str) -> list[tuple[int, int]]:
    sizes = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)x(\d+)", part)
        if not match or not all(64 <= int(side) <= 8192 for side in match.groups()):
            raise argparse.ArgumentTypeError(f"{part!r} is no size; give height x width from 64 to 8192")
        sizes.append((int(match[1]), int(match[2])))
    return sizes


def _counts(text: str) -> list[int]:
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers; give for example 0,5,20,100")
    return [int(part) for part in text.split(",")]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds; give 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
