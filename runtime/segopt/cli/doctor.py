"""``segopt doctor``: what this machine has, and what each missing thing would take."""

from __future__ import annotations

import dataclasses
from json import dumps
from typing import Annotated

import typer


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")] = False,
) -> None:
    """Show what this machine has: Python, OpenCV, PyAV, ONNX Runtime, TensorRT, GPUs; and how to get the rest."""
    from segopt.doctor.examine import examine

    findings = examine()
    if json:
        typer.echo(dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
        return

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "missing": "dim", "warning": "yellow"}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("found, or what it would take", overflow="fold")
    for finding in findings:
        # Text, not str: rich would read "segopt[gpu]" as markup.
        detail = Text(finding.found)
        if finding.fix:
            detail.append(f"{chr(10) if finding.found else ''}-> {finding.fix}", style="cyan")
        table.add_row(Text(finding.name), Text(finding.status, style=styles[finding.status]), detail)
    Console().print(table)
