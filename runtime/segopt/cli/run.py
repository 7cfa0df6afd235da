"""``segopt run``: a model over pictures, a video or a camera."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segopt.errors import UsageError

if TYPE_CHECKING:
    from segopt.pipeline.run import RunStats
    from segopt.sinks.base import Sink
    from segopt.sources import Source

_SIGTERM_STATUS = 128 + 15


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
    device: Annotated[
        Device,
        typer.Option(help="Where to run; auto takes a GPU where one works, tensorrt is ONNX Runtime's TensorRT."),
    ] = Device.auto,
) -> None:
    """Run a model on pictures, a video, a camera or a stream.

    Videos keep their frame rate and frame count. Ctrl-C ends the run and keeps what was done.
    """
    # Before NumPy is imported. Nothing here multiplies matrices, and each of OpenBLAS's threads would take a core
    # for 0.1 s to wait for one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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

        opened = stack.enter_context(open_source(source, stride=stride, max_frames=max_frames))
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
        if not audio:
            opened.sound = None
        frames_at_once = _batch(batch, segmenter.batch)
        folder = output or Path("runs") / opened.name
        sinks = make_sinks(saves, folder, opened, segmenter.mode)
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

    said = _say_notes(source.notes)
    with _sigterm_as_interrupt() as terminated:
        try:
            with _progress(source) as on_progress:
                stats = run_pipeline(source, segmenter, sinks, batch=batch, screen=screen, on_progress=on_progress)
        except BaseException:
            _say_notes(source.notes[said:])
            _say_what_is_kept(sinks)
            raise
    _say_notes([*source.notes[said:], *(note for sink in sinks for note in sink.notes)])
    _say_stats(stats)
    _say_what_is_kept(sinks)
    if terminated:
        return _SIGTERM_STATUS
    return 130 if stats.interrupted else 0


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

    console = Console(stderr=True)
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


def _say_notes(notes: Sequence[str]) -> int:
    """Say each, and give their number."""
    for note in notes:
        typer.echo(f"note: {note}")
    return len(notes)


def _say_what_is_kept(sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        if sink.count:
            typer.echo(f"{sink.label}: {sink.path} ({_frames(sink.count)})")


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[list[int]]:
    """Let SIGTERM (systemd, docker stop) end a run as Ctrl-C does; the list gets it."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, previous)
