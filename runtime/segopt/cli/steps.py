"""Shows the steps of a longer job on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show a step while it runs, and its seconds when it is done."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    began = time.perf_counter()
    with console.status(text):
        yield
    console.print(f"[green]done[/green] {text} [dim]({time.perf_counter() - began:.1f} s)[/dim]")
