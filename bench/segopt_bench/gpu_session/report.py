"""The report of a session: one page in Markdown, with every step's outcome and the end of what it said."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from segopt_bench.gpu_session.session import Outcome
from segopt_bench.reporting.machine import UNKNOWN, Machine

_WATCHED = ("SM clock, MHz", "memory clock, MHz", "power, W", "temperature, degrees C", "GPU in use, percent")
_LINES = 60
"""Of each log; the whole log lies beside the report."""


def write_report(path: Path, machine: Machine, outcomes: Sequence[Outcome]) -> None:
    """Write the page.

    Args:
        path: of the Markdown file.
        machine: that the session ran on.
        outcomes: of the steps.
    """
    lines = ["# A session on a GPU", "", "| machine | |", "|---|---|"]
    facts = {"GPU": machine.gpu, "CPU": f"{machine.cpu}, {machine.cores} cores", "system": machine.system}
    lines += [f"| {name} | {value or UNKNOWN} |" for name, value in {**facts, **machine.versions}.items()]
    lines += ["", "| step | outcome | seconds |", "|---|---|---:|"]
    lines += [f"| {each.step.name} | {each.text} | {each.seconds:.0f} |" for each in outcomes]
    for each in outcomes:
        lines += ["", f"## {each.step.name}", ""]
        for name, low, middle, high in watched_figures(each.log.with_name(f"{each.step.name}-gpu.csv")):
            lines.append(f"- {name}: median {middle:g}, from {low:g} to {high:g}")
        said = each.log.read_text(encoding="utf-8", errors="replace").splitlines()
        left_out = len(said) - _LINES
        note = [f"(the last {_LINES} of {len(said)} lines of {each.log.name})"] if left_out > 0 else []
        lines += ["", *note, "```", " ".join(each.step.command), *said[-_LINES:], "```"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def watched_figures(path: Path) -> list[tuple[str, float, float, float]]:
    """Name, lowest, median and highest of what nvidia-smi recorded; nothing where it did not."""
    try:
        rows = [line.split(", ") for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    whole = [row for row in rows if len(row) == len(_WATCHED)]
    figures = []
    for index, name in enumerate(_WATCHED):
        values = [float(row[index]) for row in whole if row[index].replace(".", "", 1).isdigit()]
        if values:
            figures.append((name, min(values), statistics.median(values), max(values)))
    return figures
