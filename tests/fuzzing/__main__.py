"""Tries inputs at random, class by class, and prints a table. ``make fuzz MINUTES=20 SEED=7``.

python -m fuzzing [--minutes 20] [--seed TEXT] [--class NAME ...] [--cases N] [--keep DIR]

The contract of every case: a right answer, or one clear line. Never a traceback, a crash, more than 20 seconds,
more than 2 GiB or half a file. What fails is kept in a folder; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

from fuzzing.campaign import Tally, run_class
from fuzzing.classes import CLASSES

_HEADER = ("class", "cases", "right", "one line", "failed", "slowest", "most memory")


def main() -> None:
    """Run it; exit with 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="for all classes together")
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--class", action="append", dest="names", choices=list(CLASSES), help="this one alone")
    parser.add_argument("--cases", type=int, help="so many of each class, in place of --minutes")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for what fails")
    options = parser.parse_args()
    names = options.names or list(CLASSES)
    print(f"seed {options.seed}", flush=True)
    tallies: list[Tally] = []
    end = time.monotonic() + 60 * options.minutes
    try:
        for i, name in enumerate(names):
            now = time.monotonic()
            stop = now + (end - now) / (len(names) - i)
            goes_on = partial(_goes_on, most=options.cases, stop=stop)
            tallies.append(run_class(name, options.seed, goes_on, options.keep))
            print(*_row(tallies[-1]), *tallies[-1].faults, sep="\n  ", flush=True)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    _print_table(tallies)
    sys.exit(any(tally.faults for tally in tallies))


def _goes_on(tally: Tally, *, most: int | None, stop: float) -> bool:
    return time.monotonic() < stop if most is None else tally.cases < most


def _row(tally: Tally) -> tuple[str, ...]:
    counts = (tally.cases, tally.right, tally.refused, len(tally.faults))
    return (tally.name, *map(str, counts), f"{tally.slowest:.1f} s", f"{tally.peak} MiB")


def _print_table(tallies: list[Tally]) -> None:
    rows = [_HEADER, *map(_row, tallies)]
    totals = (sum(getattr(tally, name) for tally in tallies) for name in ("cases", "right", "refused"))
    rows.append(("all", *map(str, totals), str(sum(len(tally.faults) for tally in tallies)), "", ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    for row in rows:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print(first, *others, sep="  ")


if __name__ == "__main__":
    main()
