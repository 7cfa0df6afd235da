"""Shows the steps of a longer job on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from segopt.builder.progress import Display


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show a step while it runs, and its seconds when it is done."""
    console = _console()
    began = time.perf_counter()
    with console.status(text):
        yield
    _done(console, text, began)


@contextmanager
def phases(text: str) -> Iterator[Display]:
    """As :func:`step`, for a build: what is given shows its phases as bars."""
    from segopt.builder.progress import PhaseBars

    console = _console()
    began = time.perf_counter()
    with PhaseBars(console) as bars:
        yield bars
    _done(console, text, began)


@contextmanager
def counting(text: str, *, stays: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of how many of how many are done, which is told to what is given.

    It ``stays`` when all is done, or goes. Where stderr is no terminal there is none.
    """
    from rich.markup import escape
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    console = _console()
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), *Progress.get_default_columns()[1:])
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=not stays) as bar:
        task = bar.add_task(escape(text), total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _done(console: Console, text: str, began: float) -> None:
    console.print(f"[green]done[/green] {text} [dim]({time.perf_counter() - began:.1f} s)[/dim]")
