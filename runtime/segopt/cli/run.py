"""``segopt run``: a model over pictures, a video or a camera."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from segopt.errors import UsageError
from segopt.interrupts import exit_status, held

if TYPE_CHECKING:
    from segopt.pipeline.run import RunStats
    from segopt.sinks.base import Sink
    from segopt.sources import Source
    from segopt.sources.reconnect import Reconnect


class Device(str, Enum):
    """Where the network runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


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
    engine: Annotated[
        Path, typer.Option(metavar="FILE", help="Model that `segopt export` made.", show_default=False)
    ],
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier run left in the folder.")
    ] = False,
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
        Device,
        typer.Option(help="Where to run; auto takes a GPU where one works, tensorrt is ONNX Runtime's TensorRT."),
    ] = Device.auto,
) -> None:
    """Run a model on pictures, a video, a camera or a stream.

    Videos keep their frame rate and frame count. Ctrl-C ends the run and keeps what was done; after a power cut,
    `segopt recover DIR` brings it back.
    """
    # Before NumPy is imported. Nothing here multiplies matrices, and each of OpenBLAS's threads would take a core
    # for 0.1 s to wait for one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from segopt.sinks.claim import claimed
    from segopt.sinks.making import make_sinks, parse_saves
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
                engine,
                device=device.value,
                score_threshold=score_threshold,
                mode=mode.value if mode else None,
                stuff_area=stuff_area,
            )
        )
        for branch, origin in segmenter.card.weights.items():
            if origin.is_random:
                typer.echo(f"note: {segmenter.card.networks[branch]} has RANDOM weights: its answers mean nothing")
        frames_at_once = _batch(batch, segmenter.batch)
        with held():
            sinks = make_sinks(saves, folder, opened, segmenter.mode, overwrite=overwrite)
            for sink in sinks:
                stack.enter_context(sink)
        status = _drive(opened, segmenter, sinks, frames_at_once, screen)
    if status:
        raise typer.Exit(status)


def _batch(asked: int | None, engine: int) -> int:
    if asked is None:
        return engine
    if not 1 <= asked <= engine:
        raise UsageError(
            f"--batch {asked}: this model takes 1 to {engine} at once; "
            f"export one with `--batch {max(asked, 1)}` for more"
        )
    return asked


def _drive(source: Source, segmenter: Any, sinks: Sequence[Sink], batch: int, screen: Any) -> int:
    """Run the pipeline, say what came of it, and give the exit status."""
    from segopt.pipeline.run import run_pipeline

    try:
        with _progress(source) as on_progress:
            stats = run_pipeline(source, segmenter, sinks, batch=batch, screen=screen, on_progress=on_progress)
    except BaseException:
        with _terminal_may_be_gone():
            _say_what_is_kept(sinks)
        raise
    with _terminal_may_be_gone():
        if stats.network_hangs:
            typer.echo("segopt: the network did not come back; what was done before it is kept", err=True)
        _say_stats(stats)
        _say_gaps(source)
        _say_what_is_kept(sinks)
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
    if stats.unconverged:
        typer.echo(
            f"on {_frames(stats.unconverged)} the model's suppression did not converge, so some boxes may be "
            "wrong; export it with more --suppression-steps and --candidates"
        )


_STAGES = {"decode": "read, decode, letterbox", "infer": "network", "finish": "merge, draw, write"}


def _say_stages(stats: RunStats) -> None:
    """A line for each stage, which work at the same time: share of the run, and who the bottleneck."""
    from segopt.pipeline.clock import slowest

    for name, stage in stats.stages.items():
        share = stage.busy / stats.seconds if stats.seconds else 0.0
        held = "  the bottleneck" if name == slowest(stats.stages) else ""
        typer.echo(f"  {_STAGES[name]:<24}{share:>5.0%} busy {stage.frame_ms:>8.1f} ms a frame{held}")


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"


def _say_what_is_kept(sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        if sink.count:
            typer.echo(f"{sink.label}: {sink.path} ({_frames(sink.count)})")


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
