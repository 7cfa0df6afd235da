"""``python -m segopt_bench.openvino_api``: what the OpenVINO backend costs beside OpenVINO's own Python API.

Both run the same ONNX file in single precision on the same pictures, in turn, from the picture on the canvas to
the output tensors in memory: one at a time (the latency hint), and several at once (the throughput hint). A ratio
above 1 says that the backend is the faster one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from segopt.errors import SegoptError
from segopt.files.atomic import write_json
from segopt_bench.openvino_api.rivals import Compared, compare
from segopt_bench.reporting.machine import describe_machine, this_moment
from segopt_bench.reporting.tables import Table, milliseconds, ratio, spread
from segopt_bench.reporting.terminal import as_rich, print_conditions


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m segopt_bench.openvino_api", description=(__doc__ or "").strip()
    )
    parser.add_argument(
        "--engine", type=Path, nargs="+", required=True, metavar="FILE", help="ONNX files of segopt's"
    )
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="how often each is timed (20)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (one for each core)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: must be 1 or more")
    machine, before = describe_machine(), this_moment()
    try:
        found = [one for engine in options.engine for one in compare(engine, options.rounds, options.threads)]
        if options.json is not None:
            write_json(options.json, {"compared": [one.to_json() for one in found]})
    except SegoptError as error:
        print(error, file=sys.stderr)
        return 1
    from rich.console import Console

    Console().print(as_rich(table(found)))
    after = this_moment()
    print(
        f"medians of {options.rounds} rounds in turn, milliseconds a frame; {machine.cpu}, {machine.cores} cores"
    )
    print_conditions(machine, before, after)
    return 0


def table(found: list[Compared]) -> Table:
    """A line for each file and hint."""
    header = (
        "",
        "hint",
        "segopt, ms",
        "5% to 95%",
        "OpenVINO's API, ms",
        "5% to 95%",
        "times as fast",
        "in CPU time",
    )
    rows = tuple(
        (
            one.engine,
            one.hint,
            milliseconds(one.backend.median),
            spread(one.backend),
            milliseconds(one.api.median),
            spread(one.api),
            ratio(one.times_as_fast),
            ratio(one.cpu),
        )
        for one in found
    )
    return Table("the OpenVINO backend and OpenVINO's own API", header, rows, names=2)


if __name__ == "__main__":
    sys.exit(main())
