"""``segopt run`` with several sources."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from segopt.cli.run_report import say_gaps, say_notes, say_stats, say_what_is_kept, terminal_may_be_gone
from segopt.errors import SegoptError, UsageError
from segopt.interrupts import exit_status, held

if TYPE_CHECKING:
    from segopt.model.card import Card
    from segopt.pipeline.many import Feed
    from segopt.segmenter import Segmenter
    from segopt.sinks.base import Sink
    from segopt.sources import Source

MOST_SOURCES = 64


def expand(given: Sequence[str]) -> list[str]:
    """The sources that are meant: ``@FILE`` stands for the lines of a file; empty ones and those after # are none.

    Raises:
        UsageError: a file that cannot be read or names none, or too many sources.
    """
    from segopt.sources.lists import listed

    sources: list[str] = []
    for each in given:
        sources += listed(Path(each[1:])) if each.startswith("@") and len(each) > 1 else [each]
    if len(sources) > MOST_SOURCES:
        raise UsageError(
            f"{len(sources)} sources, and {MOST_SOURCES} are the most at once; for pictures name their folder, or "
            "quote the pattern: 'pictures/*.jpg'"
        )
    return sources


def folders_of(sources: Sequence[Source], output: Path | None) -> list[Path]:
    """Where each source's results go: of one in ``output`` itself, of several in folders in it."""
    if len(sources) == 1:
        return [output or Path("runs") / sources[0].name]
    taken: set[str] = set()
    folders = []
    for source in sources:
        name, number = source.name, 1
        # Some file systems do not tell Drive from drive.
        while name.casefold() in taken:
            number += 1
            name = f"{source.name}-{number}"
        taken.add(name.casefold())
        folders.append((output or Path("runs")) / name)
    return folders


def drive_many(
    segmenter: Segmenter,
    sources: Sequence[Source],
    saves: Collection[str],
    folders: Sequence[Path],
    *,
    more: Sequence[Sequence[Sink]],
    track: bool,
    overwrite: bool,
    batch: int | None,
) -> int:
    """Run, with a progress line for each source; say what came of each; give the exit status."""
    from segopt.pipeline.following import tracker_for
    from segopt.pipeline.many import Feed, run_many
    from segopt.pipeline.saving import batch_of
    from segopt.sinks.making import make_sinks

    at_once = batch_of(batch, segmenter.batch)
    with contextlib.ExitStack() as stack:
        feeds = []
        for source, folder, beside in zip(sources, folders, more, strict=True):
            tracker = tracker_for(segmenter) if track else None
            with held():
                sinks = make_sinks(saves, folder, source, segmenter.mode, tracked=track, overwrite=overwrite)
                for sink in sinks:
                    stack.enter_context(sink)
            feeds.append(Feed(source, [*sinks, *beside], tracker))
        said = [say_notes(source.notes) for source in sources]
        interrupt = None
        try:
            with _progress([folder.name for folder in folders], sources) as on_progress:
                interrupt = run_many(feeds, segmenter, batch=at_once, on_progress=on_progress)
        finally:
            with terminal_may_be_gone():
                failed = [
                    _say(feed, segmenter.card, folder.name, beside, told)
                    for feed, folder, beside, told in zip(feeds, folders, more, said, strict=True)
                ]
    if interrupt is not None:
        return exit_status(interrupt)
    return int(any(failed))


def _say(feed: Feed, card: Card, name: str, beside: Sequence[Sink], told: int) -> bool:
    """What became of one source; whether it failed."""
    if feed.stats is None:
        return True
    typer.echo(f"{name}:")
    say_notes([*feed.source.notes[told:], *feed.stats.notes])
    say_stats(feed.stats, card)
    say_gaps(feed.source)
    own = {sink.label for sink in beside}
    say_what_is_kept(saved for saved in feed.stats.saved if saved.what not in own or saved.path != Path("-"))
    if feed.error is None:
        return False
    if not isinstance(feed.error, SegoptError):
        raise feed.error
    typer.echo(f"segopt: error: {name}: {str(feed.error).removeprefix(f'{name}: ')}", err=True)
    return True


@contextlib.contextmanager
def _progress(names: Sequence[str], sources: Sequence[Source]) -> Iterator[Callable[[list[int]], None] | None]:
    """A line on stderr for each source; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} frames {task.fields[fps]}"),
        console=Console(stderr=True),
    )
    with bar:
        start = time.monotonic()
        tasks = [
            bar.add_task(name, total=source.frame_count, fps="")
            for name, source in zip(names, sources, strict=True)
        ]

        def update(frames: list[int]) -> None:
            for task, count in zip(tasks, frames, strict=True):
                rate = count / max(time.monotonic() - start, 1e-3)
                bar.update(task, completed=count, fps=f"{rate:.1f} fps" if count else "")

        yield update
