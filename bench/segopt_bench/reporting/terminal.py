"""Tables and remarks on the terminal."""

from __future__ import annotations

from typing import Any

from segopt_bench.reporting.machine import Machine, Moment, conditions, warnings
from segopt_bench.reporting.tables import Table


def as_rich(table: Table) -> Any:
    """A table that a :class:`rich.console.Console` prints."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, title=Text(table.title), title_justify="left")
    for i, name in enumerate(table.header):
        shown.add_column(name, justify="left" if i < table.names else "right", style="cyan" if i == 0 else None)
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown


def print_conditions(machine: Machine, before: Moment, after: Moment) -> None:
    """Print how busy the machine was, and what makes the figures doubtful."""
    print(f"load average {conditions(before, after)['load average']}")
    for doubt in warnings(before, after, machine.cores):
        print(f"doubtful: {doubt}")
