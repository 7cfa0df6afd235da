"""``python -m segopt_bench.footprint``: memory and CPU time of ``segopt run`` against the same job in PyTorch.

Both read the video, run the network, draw and encode, each in a process of its own, in turn. A first run of each,
which compiles what Python has not compiled yet, is not counted. Figures are medians, the shares those of medians.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from segopt.errors import SegoptError
from segopt.files.atomic import write_json
from segopt_bench.footprint.process import Usage, run_watched
from segopt_bench.reporting.machine import describe_machine, this_moment
from segopt_bench.reporting.spread import Spread
from segopt_bench.reporting.tables import Table
from segopt_bench.reporting.terminal import as_rich, print_conditions

JOBS = {
    "segopt run": [sys.executable, "-m", "segopt", "run", "--device", "cpu"],
    "PyTorch eager": [sys.executable, "-m", "segopt_bench.footprint.eager_run"],
}
_MIB = 2**20


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m segopt_bench.footprint", description=(__doc__ or "").strip())
    parser.add_argument("--engine", type=Path, required=True, metavar="FILE", help="an ONNX file of segopt's")
    parser.add_argument("--frames", type=int, default=60, metavar="N", help="of the video, at most (60)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each job runs (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("source", metavar="VIDEO")
    options = parser.parse_args(arguments)
    machine, before = describe_machine(), this_moment()
    try:
        measure(options.engine, options.source, frames=1, rounds=1)
        first, whole = (
            measure(options.engine, options.source, frames, options.rounds) for frames in (1, options.frames)
        )
        after = this_moment()
        if options.json is not None:
            write_json(options.json, {"first_frame": _plain(first), "whole": _plain(whole)})
    except SegoptError as error:
        print(error, file=sys.stderr)
        return 1
    from rich.console import Console

    Console().print(as_rich(table(first, whole)))
    print(f"medians of {options.rounds} runs in turn; {machine.cpu}, {machine.cores} cores")
    print_conditions(machine, before, after)
    return 0


def measure(engine: Path, source: str, frames: int, rounds: int) -> dict[str, list[Usage]]:
    """Run each job ``rounds`` times, in turn.

    Raises:
        ProcessError: one fails.
    """
    usages: dict[str, list[Usage]] = {name: [] for name in JOBS}
    for _ in range(rounds):
        for name, command in JOBS.items():
            with tempfile.TemporaryDirectory() as folder:
                options = ["--engine", str(engine), "--output", folder, "--max-frames", str(frames), source]
                usages[name].append(run_watched([*command, *options]))
    return usages


def table(first: dict[str, list[Usage]], whole: dict[str, list[Usage]]) -> Table:
    """Both jobs, and how many times as much the second takes."""
    rows = {
        "peak memory, MiB": {name: _median([u.peak_bytes / _MIB for u in runs]) for name, runs in whole.items()},
        "CPU seconds until the first result": {
            name: _median([u.cpu_seconds for u in runs]) for name, runs in first.items()
        },
        "CPU seconds of the whole job": {
            name: _median([u.cpu_seconds for u in runs]) for name, runs in whole.items()
        },
        "seconds of the whole job": {name: _median([u.seconds for u in runs]) for name, runs in whole.items()},
    }
    ours, eager = JOBS
    lines = tuple(
        (what, _digits(values[ours]), _digits(values[eager]), f"{values[ours] / values[eager]:.3f}")
        for what, values in rows.items()
    )
    return Table("the same job twice", ("", ours, eager, "share"), lines)


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _median(values: Sequence[float]) -> float:
    return Spread.of(values).median


def _plain(usages: dict[str, list[Usage]]) -> dict[str, list[dict[str, float]]]:
    return {
        name: [{"peak_bytes": u.peak_bytes, "cpu_seconds": u.cpu_seconds, "seconds": u.seconds} for u in each]
        for name, each in usages.items()
    }


if __name__ == "__main__":
    sys.exit(main())
