"""The progress bar of ``segopt label``: units, frames, frames per second, time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from segopt.labeling.run import Progress, Watcher

if TYPE_CHECKING:
    from typing_extensions import Self

    from segopt.labeling.worker import Report


class Bar(Watcher):
    """A bar on stderr; nothing where that is no terminal. What goes wrong is said when it happens."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._start = 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[frames]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def started(self, progress: Progress) -> None:
        """Show the bar, at what was done before."""
        if self._bar is not None:
            self._task = self._bar.add_task(
                "units", total=progress.units, completed=progress.before, frames="starting"
            )

    def reported(self, report: Report, progress: Progress) -> None:
        """Move it."""
        if self._bar is None:
            return
        # Ray's start is no work.
        self._start = self._start or time.monotonic() - report.seconds
        rate = progress.frames / max(time.monotonic() - self._start, 1e-3)
        self._bar.update(
            self._task,
            completed=progress.before + progress.done,
            frames=f"{progress.frames} frames {rate:.1f} fps",
        )
        if report.error:
            self._bar.console.print(f"{report.unit}: {report.error}", markup=False, highlight=False)

    def merging(self, done: int, count: int) -> None:
        """Show how far the merge is."""
        if self._bar is not None:
            self._bar.update(self._task, description="merging", completed=done, total=count)
