"""What ``segopt run`` says while it runs and at its end."""

from __future__ import annotations

import contextlib
import errno
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO, cast

import typer

if TYPE_CHECKING:
    from segopt.model.card import Card
    from segopt.pipeline.run import RunStats, Saved
    from segopt.sources import Source


@contextlib.contextmanager
def terminal_may_be_gone() -> Iterator[None]:
    """After a hang-up, what would be printed is lost, and nothing else."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def say_gaps(source: Source) -> None:
    """How often a live source was away, and for how long."""
    gaps = getattr(source, "gaps", ())
    if gaps:
        lost = sum(gap.seconds for gap in gaps)
        typer.echo(f"{len(gaps)} gap{'' if len(gaps) == 1 else 's'} in the source, {lost:.1f} s in all")


@contextlib.contextmanager
def progress(source: Source) -> Iterator[Callable[[int], None] | None]:
    """A bar on stderr with frames, fps and time left; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(file=cast("TextIO", _Lasting(sys.stderr)))
    rate = TextColumn("{task.fields[fps]}")
    if source.frame_count is None:
        bar = Progress(
            TextColumn(source.name),
            TextColumn("{task.completed} frames"),
            rate,
            TimeElapsedColumn(),
            console=console,
        )
    else:
        bar = Progress(
            TextColumn(source.name),
            BarColumn(),
            MofNCompleteColumn(),
            rate,
            TimeRemainingColumn(),
            console=console,
        )
    with bar:
        start = time.monotonic()
        task = bar.add_task("", total=source.frame_count, fps="")

        def update(frames: int) -> None:
            speed = bar.tasks[0].speed or frames / max(time.monotonic() - start, 1e-3)
            bar.update(task, completed=frames, fps=f"{speed:.1f} fps" if frames else "")

        yield update


def say_stats(stats: RunStats, card: Card) -> None:
    """What a run of the model with this card did, and what each stage took of it."""
    words = [f"{_frames(stats.frames)} in {stats.seconds:.1f} s ({stats.fps:.1f} fps)"]
    if stats.dropped:
        words.append(f"{stats.dropped} passed over to keep up with the source")
    if stats.interrupted:
        words.append("interrupted")
    typer.echo(", ".join(words))
    _say_stages(stats)
    if stats.objects is not None:
        typer.echo(f"{stats.objects} object{'' if stats.objects == 1 else 's'} followed")
    if stats.unconverged:
        what, options = card.doubt
        typer.echo(f"on {_frames(stats.unconverged)} {what}; export it with more {options}")


_STAGES = {
    "decode": "read, decode, letterbox",
    "infer": "network",
    "finish": "merge",
    "draw": "draw",
    "encode": "encode",
    "write": "write",
}


def _say_stages(stats: RunStats) -> None:
    """A line for each stage, which work at the same time: share of the run, and which is the bottleneck."""
    from segopt.pipeline.clock import slowest

    for name, stage in stats.stages.items():
        share = stage.busy / stats.seconds if stats.seconds else 0.0
        held = "  the bottleneck" if name == slowest(stats.stages) else ""
        typer.echo(f"  {_STAGES[name]:<24}{share:>5.0%} busy {stage.frame_ms:>8.1f} ms a frame{held}")


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"


def say_what_is_kept(files: Iterable[Saved]) -> None:
    """Each file or folder that was written."""
    for saved in files:
        typer.echo(f"{saved.what}: {saved.path} ({_frames(saved.frames)})")


def say_notes(notes: Sequence[str]) -> int:
    """Say each, and give their number."""
    for note in notes:
        typer.echo(f"note: {note}")
    return len(notes)


class _Lasting(io.TextIOBase):
    """A terminal that takes text for ever: after a hang-up, into the void."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._terminal.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal.isatty()

    def fileno(self) -> int:
        return self._terminal.fileno()
