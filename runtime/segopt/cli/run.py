"""``segopt run``: a model over pictures, a video or a camera."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from segopt.cli.engines import Engine, Precision, take
from segopt.device import parse_device
from segopt.errors import UsageError
from segopt.interrupts import exit_status, held

if TYPE_CHECKING:
    from segopt.pipeline.run import RunStats, Saved
    from segopt.segmenter import Segmenter
    from segopt.sources import Source
    from segopt.sources.reconnect import Reconnect


DEVICES = "auto|cpu|cuda[:N]|tensorrt[:N]"


def check_device(text: str) -> str:
    """A device; one that there is none of is refused with the other options."""
    try:
        parse_device(text)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None
    return text


class View(str, Enum):
    """What to make of the network's outputs."""

    semantic = "semantic"
    instance = "instance"
    panoptic = "panoptic"


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Picture, folder, 'glob*.jpg', video, camera index (0), rtsp:// or http:// URL, or a GStreamer "
            "pipeline string.",
            show_default=False,
        ),
    ],
    engine: Engine,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for what is saved.", show_default="runs/<name of the source>"),
    ] = None,
    save: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="What to save, with commas: overlay (pictures or video), panoptic (COCO panoptic PNG + json), "
            "coco (COCO results json), or none.",
        ),
    ] = "overlay",
    track: Annotated[
        bool,
        typer.Option("--track", help="Give each object a number, color and name that it keeps over the frames."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier run left in the folder.")
    ] = False,
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Keep the source's sound in the overlay video.")
    ] = True,
    show: Annotated[bool, typer.Option("--show", help="Show results in a window; q or Esc ends.")] = False,
    max_frames: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after N frames.", show_default=False)
    ] = None,
    stride: Annotated[int, typer.Option(metavar="N", help="Take each N-th frame.")] = 1,
    score_threshold: Annotated[
        float | None,
        typer.Option(metavar="0..1", help="Lowest score of an object.", show_default="the model's own"),
    ] = None,
    stuff_area: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Panoptic: smallest region of stuff, in pixels of the frame.",
            show_default="the model's own",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Frames per inference, at most the model's batch.", show_default="the model's own"
        ),
    ] = None,
    mode: Annotated[
        View | None,
        typer.Option(help="View of a panoptic model to give.", show_default="the model's own"),
    ] = None,
    reconnect: Annotated[
        str | None,
        typer.Option(
            metavar="off|N",
            help="Live sources that break off: end the run, or give up after N attempts in a row.",
            show_default="try until it is back, after 1, 2, 4 ... 30 s",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar=DEVICES,
            callback=check_device,
            help="Where to run; auto takes a GPU where one works, cuda:1 is the second GPU, tensorrt is ONNX "
            "Runtime's TensorRT.",
        ),
    ] = "auto",
    precision: Precision = None,
) -> None:
    """Run a model on pictures, a video, a camera or a stream.

    Videos keep their frame rate and frame count. Ctrl-C ends the run and keeps what was done; after a power cut,
    `segopt recover DIR` brings it back.
    """
    # Before NumPy is imported. Nothing here multiplies matrices, and each of OpenBLAS's threads would take a core
    # for 0.1 s to wait for one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from segopt.sinks.claim import claimed
    from segopt.sinks.making import parse_saves
    from segopt.sinks.window import Screen

    saves = parse_saves(save)
    if not saves and not show:
        raise UsageError(
            "--save none: nothing would come of it; add --show, or save one of overlay, panoptic, coco"
        )
    with contextlib.ExitStack() as stack:
        # Before PyAV is imported, which opening a video does: see Screen.
        screen = Screen(f"segopt: {source}") if show else None
        if screen is not None:
            stack.callback(screen.close)
        from segopt.segmenter import load
        from segopt.sources import open_source

        opened = stack.enter_context(
            open_source(source, stride=stride, max_frames=max_frames, reconnect=_reconnect(reconnect))
        )
        folder = output or Path("runs") / opened.name
        with held():
            stack.enter_context(
                claimed(
                    saves,
                    folder,
                    opened,
                    overwrite=overwrite,
                    on_recovered=lambda file: typer.echo(f"recovered from a run that was killed: {file}"),
                )
            )
        segmenter = stack.enter_context(
            load(
                take(engine, device, precision),
                device=device,
                precision=precision,
                score_threshold=score_threshold,
                mode=mode.value if mode else None,
                stuff_area=stuff_area,
            )
        )
        for branch, origin in segmenter.card.weights.items():
            if origin.is_random:
                typer.echo(f"note: {segmenter.card.networks[branch]} has RANDOM weights: its answers mean nothing")
        if not audio:
            opened.sound = None
        status = _drive(
            segmenter, opened, saves, folder, track=track, overwrite=overwrite, batch=batch, screen=screen
        )
    if status:
        raise typer.Exit(status)


def _drive(segmenter: Segmenter, source: Source, saves: Collection[str], folder: Path, **options: Any) -> int:
    """Run, with a progress bar; say what came of it; give the exit status."""
    from segopt.pipeline.saving import run_claimed

    saved: list[Saved] = []
    said = _say_notes(source.notes)
    try:
        with _progress(source) as on_progress:
            stats = run_claimed(
                segmenter, source, saves, folder, on_progress=on_progress, on_saved=saved.append, **options
            )
    except BaseException:
        with _terminal_may_be_gone():
            _say_notes(source.notes[said:])
            _say_what_is_kept(saved)
        raise
    with _terminal_may_be_gone():
        if stats.network_hangs:
            typer.echo("segopt: the network did not come back; what was done before it is kept", err=True)
        _say_notes([*source.notes[said:], *stats.notes])
        _say_stats(stats)
        _say_gaps(source)
        _say_what_is_kept(saved)
    return 0 if stats.interrupt is None else exit_status(stats.interrupt)


@contextlib.contextmanager
def _terminal_may_be_gone() -> Iterator[None]:
    """After a hang-up, what would be printed is lost, and nothing else."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def _reconnect(option: str | None) -> Reconnect | None:
    from segopt.sources.reconnect import Reconnect

    if option == "off":
        return None
    if option is not None and not (option.isascii() and option.isdecimal() and int(option) > 0):
        raise UsageError(f"--reconnect {option}: is neither off nor a number of attempts from 1 on")
    return Reconnect(None if option is None else int(option), _say_event)


def _say_event(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"segopt: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _say_gaps(source: Source) -> None:
    gaps = getattr(source, "gaps", ())
    if gaps:
        lost = sum(gap.seconds for gap in gaps)
        typer.echo(f"{len(gaps)} gap{'' if len(gaps) == 1 else 's'} in the source, {lost:.1f} s in all")


@contextlib.contextmanager
def _progress(source: Source) -> Iterator[Callable[[int], None] | None]:
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


def _say_stats(stats: RunStats) -> None:
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
        typer.echo(
            f"on {_frames(stats.unconverged)} the model's suppression did not converge, so some boxes may be "
            "wrong; export it with more --suppression-steps and --candidates"
        )


_STAGES = {"decode": "read, decode, letterbox", "infer": "network", "finish": "merge, draw, write"}


def _say_stages(stats: RunStats) -> None:
    """A line for each stage, which work at the same time: share of the run, and which is the bottleneck."""
    from segopt.pipeline.clock import slowest

    for name, stage in stats.stages.items():
        share = stage.busy / stats.seconds if stats.seconds else 0.0
        held = "  the bottleneck" if name == slowest(stats.stages) else ""
        typer.echo(f"  {_STAGES[name]:<24}{share:>5.0%} busy {stage.frame_ms:>8.1f} ms a frame{held}")


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"


def _say_what_is_kept(files: Iterable[Saved]) -> None:
    for saved in files:
        typer.echo(f"{saved.what}: {saved.path} ({_frames(saved.frames)})")


def _say_notes(notes: Sequence[str]) -> int:
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
