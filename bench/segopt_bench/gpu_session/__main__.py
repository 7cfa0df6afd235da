"""``python -m segopt_bench.gpu_session --output DIR``: all that a machine with a GPU can show, in one report.

It runs `segopt doctor` and the tests for a GPU; exports networks in FP32 and FP16; builds their plans, which each
build holds against ONNX Runtime on the CPU; and times them against PyTorch in FP32, in FP16 and compiled, with
clocks and power. A step that fails ends nothing but itself. ``DIR/report.md`` is the report, beside the logs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from segopt.driver import find_gpu, why_no_gpu
from segopt.errors import SegoptError
from segopt.files.atomic import check_new, make_folder
from segopt_bench.gpu_session.report import write_report
from segopt_bench.gpu_session.session import run_steps
from segopt_bench.gpu_session.steps import network_names, session_steps
from segopt_bench.reporting.machine import describe_machine


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status: 1 where a step failed."""
    names = network_names()
    parser = argparse.ArgumentParser(
        prog="python -m segopt_bench.gpu_session", description=(__doc__ or "").replace("``", "").strip()
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the report and all files")
    parser.add_argument("--networks", nargs="+", choices=names, default=names, help="all of them if left out")
    options = parser.parse_args(arguments)
    gpu = find_gpu()
    if gpu is None:
        print(f"no NVIDIA GPU on this machine ({why_no_gpu()}); `segopt doctor` says more", file=sys.stderr)
        return 1
    report = options.output / "report.md"
    try:
        check_new(report, overwrite=False)
        make_folder(options.output)
    except SegoptError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{gpu.name} (compute capability {gpu.compute_capability})")
    outcomes = []
    machine = describe_machine()
    for outcome in run_steps(session_steps(options.output, options.networks), options.output):
        print(f"{outcome.step.name:<24} {outcome.text}, {outcome.seconds:.0f} s", flush=True)
        outcomes.append(outcome)
        # After each step: what was seen is kept if the machine goes away.
        write_report(report, machine, outcomes)
    print(f"report: {report}")
    return int(any(outcome.status != 0 for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
