"""A build's progress: TensorRT's nested phases, as bars on stderr, and the way to stop a build."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import tensorrt as trt
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from segopt.tensorrt.module import TensorRT


class Display(Protocol):
    """Shows phases. TensorRT may call from several threads, and opens a name again after it was closed."""

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins inside another one."""

    def step(self, phase: str) -> None:
        """A step of a phase is done."""

    def finish(self, phase: str) -> None:
        """A phase ends, done or not."""


class NoDisplay:
    """A :class:`Display` that shows nothing."""

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """See :meth:`Display.start`."""

    def step(self, phase: str) -> None:
        """See :meth:`Display.step`."""

    def finish(self, phase: str) -> None:
        """See :meth:`Display.finish`."""


class PhaseBars:
    """A :class:`Display`: one bar for each open phase, the inner ones indented, gone when the build ends."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._open: dict[str, tuple[TaskID, int]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> PhaseBars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """See :meth:`Display.start`."""
        with self._lock:
            depth = self._open[parent][1] + 1 if parent in self._open else 0
            self._open[phase] = (self._progress.add_task("  " * depth + phase, total=steps), depth)

    def step(self, phase: str) -> None:
        """See :meth:`Display.step`."""
        with self._lock:
            if phase in self._open:
                self._progress.advance(self._open[phase][0])

    def finish(self, phase: str) -> None:
        """See :meth:`Display.finish`."""
        with self._lock:
            if phase in self._open:
                self._progress.remove_task(self._open.pop(phase)[0])


class Cancel:
    """Whether a build is to stop; TensorRT asks after each step."""

    def __init__(self) -> None:
        self.wanted = False

    @contextlib.contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """Let Ctrl-C ask for the stop, and raise KeyboardInterrupt at the end of the block.

        Raised inside one of TensorRT's callbacks, it would be printed there and lost
        (python/src/infer/pyCore.cpp, PyProgressMonitor). Off the main thread, where Python takes no signals,
        nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(_signal: int, _frame: FrameType | None) -> None:
            self.wanted = True

        previous = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)
        if self.wanted:
            raise KeyboardInterrupt


def progress_monitor(module: TensorRT, display: Display, cancel: Cancel) -> trt.IProgressMonitor:
    """TensorRT's monitor that shows a build's phases and stops it when that is wanted."""
    base: Any = module.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)  # pybind11 wants its own base, not super().

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            display.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, _step: int) -> bool:
            display.step(phase_name)
            return not cancel.wanted

        def phase_finish(self, phase_name: str) -> None:
            display.finish(phase_name)

    monitor: trt.IProgressMonitor = Monitor()
    return monitor
