"""``python -m segopt_bench.merging``: time paste and panoptic merge, alone and on made-up detections.

Everybody gets the same boxes, 28x28 masks and label map, on the CPU, and takes turns. Times are medians; so are
the ratios, which are taken round by round.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from segopt.atomic import write_json
from segopt.errors import SegoptError
from segopt_bench.latency.machine import conditions, describe_machine, this_moment, warnings
from segopt_bench.latency.screen import as_rich
from segopt_bench.latency.spread import Spread, paired_ratio
from segopt_bench.latency.tables import NOTHING, Table, milliseconds, ratio
from segopt_bench.merging.cases import LONGEST, SHORTEST, Case, make_case
from segopt_bench.merging.mergers import OURS, WRITE, jobs, largest_planes

_MEMORY_SHARE = 0.3
"""Of the machine's memory: a case whose planes are larger is left to those who make none."""
_REST_SECONDS = 0.01


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
    """Milliseconds of everybody in each round, and how many pixels they have otherwise than segopt."""
    merging = jobs(case)
    left_out = []
    if memory_gib is not None and largest_planes(case) > _MEMORY_SHARE * memory_gib * 2**30:
        left_out = [name for name in merging if name not in (OURS, WRITE)]
    for name in left_out:
        del merging[name]
    maps = {name: job() for name, job in merging.items()}
    own = maps[OURS]
    times: dict[str, list[float]] = {name: [] for name in merging}
    names = list(merging)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            time.sleep(_REST_SECONDS)
            began = time.perf_counter()
            merging[name]()
            times[name].append(1000 * (time.perf_counter() - began))
    return {
        "instances": len(case.boxes),
        "size": list(case.size),
        "milliseconds": times,
        "different_pixels": {
            name: int(np.count_nonzero(map_ != own))
            for name, map_ in maps.items()
            if map_ is not None and name not in (OURS, WRITE)
        },
        "left_out": left_out,
    }


def table(timed: dict[str, Any]) -> Table:
    """One case for people."""
    times, different = timed["milliseconds"], timed["different_pixels"]
    height, width = timed["size"]
    rows = []
    for name, values in times.items():
        pixels = f"{different[name]}" if name in different else NOTHING
        times_as_long = NOTHING if name == OURS else ratio(paired_ratio(values, times[OURS]))
        rows.append((name, milliseconds(Spread.of(values).median), times_as_long, pixels))
    rows += [(name, "needs more memory", NOTHING, NOTHING) for name in timed["left_out"]]
    return Table(
        f"{timed['instances']} instances on {width}x{height}",
        ("", "ms", "times as long as segopt", "pixels otherwise"),
        tuple(rows),
    )


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
