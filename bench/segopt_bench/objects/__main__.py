"""``python -m segopt_bench.objects``: what a detector's network costs with few objects and with many.

A file for a CPU computes masks in a loop, for the objects that are asked for. It is timed beside one of the same
network that computes a mask for every slot (``segopt export --all-masks``), in turn, on one picture, from the
canvas to the output tensors in memory. A ratio above 1 says that the loop is faster.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from segopt.errors import SegoptError
from segopt.files.atomic import write_json
from segopt_bench.objects.counts import Counted, measure
from segopt_bench.reporting.machine import describe_machine, this_moment
from segopt_bench.reporting.tables import Table, milliseconds, ratio, spread
from segopt_bench.reporting.terminal import as_rich, print_conditions


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m segopt_bench.objects", description=(__doc__ or "").strip())
    parser.add_argument("--engine", type=Path, required=True, metavar="FILE", help="ONNX file of --target cpu")
    parser.add_argument(
        "--against", type=Path, required=True, metavar="FILE", help="the same network with --all-masks"
    )
    parser.add_argument("--counts", default="5,40,100", metavar="N,N", help="objects asked for (5,40,100)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="what is looked at (a synthetic scene)")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="how often each is timed (20)")
    parser.add_argument("--device", default="cpu", metavar="cpu|openvino", help="what runs both (cpu)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: must be 1 or more")
    try:
        counts = [int(count) for count in options.counts.split(",")]
    except ValueError:
        parser.error(f"--counts {options.counts}: give numbers with commas between them, such as 5,40")
    machine, before = describe_machine(), this_moment()
    try:
        found = measure(options.engine, options.against, counts, options.rounds, options.picture, options.device)
        if options.json is not None:
            write_json(options.json, {"counted": [one.to_json() for one in found]})
    except SegoptError as error:
        print(error, file=sys.stderr)
        return 1
    from rich.console import Console

    Console().print(as_rich(table(found)))
    after = this_moment()
    print(f"medians of {options.rounds} rounds in turn; {machine.cpu}, {machine.cores} cores")
    print_conditions(machine, before, after)
    return 0


def table(found: list[Counted]) -> Table:
    """A line for each count."""
    header = ("", "objects", "network, ms", "5% to 95%", "times as fast")
    rows = tuple(
        (
            one.engine,
            str(one.objects),
            milliseconds(one.network.median),
            spread(one.network),
            ratio(one.times_as_fast),
        )
        for one in found
    )
    return Table("masks of the objects that are there, and of all slots", header, rows, names=1)


if __name__ == "__main__":
    sys.exit(main())
