"""``segopt run``: a model over pictures, a video or a camera."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from segopt.cli.engines import Engine, InferencePrecision, Precision, ScoreThreshold, StuffArea, Threads, take
from segopt.cli.run_many import drive_many, expand, folders_of
from segopt.cli.run_report import (
    progress,
    say_gaps,
    say_notes,
    say_stats,
    say_what_is_kept,
    terminal_may_be_gone,
)
from segopt.device import parse_device
from segopt.errors import UsageError
from segopt.interrupts import exit_status, held

if TYPE_CHECKING:
    from segopt.pipeline.run import Saved
    from segopt.preview.server import PreviewServer
    from segopt.segmenter import Segmenter
    from segopt.sinks.base import Sink
    from segopt.sources import Source
    from segopt.sources.reconnect import Reconnect


DEVICES = "auto|cpu|cuda|..."


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
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Picture, folder, 'glob*.jpg', video, camera index (0), rtsp:// or http:// URL, or a GStreamer "
            "pipeline string; several share the model's batches; @FILE names one a line.",
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
            help="What to save, with commas: overlay, panoptic (COCO PNG + json), coco (results json), jsonl "
            "(a line a frame; rle adds masks), with --track step (KITTI-STEP) and ytvis; or none.",
        ),
    ] = "overlay",
    jsonl: Annotated[
        str | None,
        typer.Option(
            metavar="-[,rle]",
            help="Write a line of JSON for each frame to standard output, and nothing else; rle adds masks.",
            show_default=False,
        ),
    ] = None,
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
    preview: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve a page with the live overlay, to this machine alone unless a host is given: 8080, or "
            "0.0.0.0:8080 with a token in the URL.",
            show_default=False,
        ),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after N frames.", show_default=False)
    ] = None,
    stride: Annotated[int, typer.Option(metavar="N", help="Take each N-th frame.")] = 1,
    score_threshold: ScoreThreshold = None,
    stuff_area: StuffArea = None,
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
            help="auto: a GPU, else the faster of ONNX Runtime and OpenVINO; cuda:1 is the second GPU, "
            "tensorrt ONNX Runtime's, openvino:GPU and :NPU Intel's.",
        ),
    ] = "auto",
    threads: Threads = None,
    inference_precision: InferencePrecision = None,
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
    from segopt.sinks.jsonl import JsonLinesOut, StandardOutput
    from segopt.sinks.making import parse_saves
    from segopt.sinks.window import Screen

    saves = parse_saves(save)
    if jsonl not in (None, "-", "-,rle"):
        raise UsageError(f"--jsonl {jsonl}: writes to standard output, -, alone; for a file add jsonl to --save")
    if not saves and not show and jsonl is None and preview is None:
        raise UsageError(
            "--save none: nothing would come of it; add --show or --preview, or save one of overlay, panoptic, "
            "coco, jsonl"
        )
    sources = expand(source)
    if len(sources) > 1 and show:
        raise UsageError("--show: shows one source alone; use --preview 8080 for several")
    out = StandardOutput() if jsonl is not None else None
    with contextlib.ExitStack() as stack:
        # Before PyAV is imported, which opening a video does: see Screen.
        screen = Screen(f"segopt: {sources[0]}") if show else None
        if screen is not None:
            stack.callback(screen.close)
        from segopt.segmenter import load
        from segopt.sources import open_source

        again = _reconnect(reconnect)
        opened = [
            stack.enter_context(open_source(each, stride=stride, max_frames=max_frames, reconnect=again))
            for each in sources
        ]
        folders = folders_of(opened, output)
        for each, folder in zip(opened, folders, strict=True):
            with held():
                stack.enter_context(
                    claimed(
                        saves,
                        folder,
                        each,
                        overwrite=overwrite,
                        on_recovered=lambda file: typer.echo(f"recovered from a run that was killed: {file}"),
                    )
                )
        segmenter = stack.enter_context(
            load(
                take(engine, device, precision),
                device=device,
                precision=precision,
                threads=threads,
                inference_precision=cast("Any", inference_precision),
                # A live frame that waits behind another one in the network only grows old there.
                hint="latency" if any(each.live for each in opened) else "throughput",
                score_threshold=score_threshold,
                mode=mode.value if mode else None,
                stuff_area=stuff_area,
            )
        )
        for branch, origin in segmenter.card.weights.items():
            if origin.is_random:
                typer.echo(f"note: {segmenter.card.networks[branch]} has RANDOM weights: its answers mean nothing")
        say_notes(segmenter.notes)
        board = None if preview is None else stack.enter_context(_preview(preview)).board
        more: list[list[Sink]] = []
        for each, folder in zip(opened, folders, strict=True):
            if not audio:
                each.sound = None
            # In a run of several sources the folder's name is unique, where a source's may not be.
            name = each.name if len(opened) == 1 else folder.name
            lines = [] if out is None else [JsonLinesOut(name, out, masks=jsonl == "-,rle")]
            more.append([*lines, *([] if board is None else [board.tile(name)])])
        options: dict[str, Any] = {"track": track, "overwrite": overwrite, "batch": batch}
        if len(opened) == 1:
            status = _drive(segmenter, opened[0], saves, folders[0], more=more[0], screen=screen, **options)
        else:
            status = drive_many(segmenter, opened, saves, folders, more=more, **options)
    if status:
        raise typer.Exit(status)


def _drive(segmenter: Segmenter, source: Source, saves: Collection[str], folder: Path, **options: Any) -> int:
    """Run, with a progress bar; say what came of it; give the exit status."""
    from segopt.pipeline.saving import run_claimed

    saved: list[Saved] = []
    said = say_notes(source.notes)
    try:
        with progress(source) as on_progress:
            stats = run_claimed(
                segmenter, source, saves, folder, on_progress=on_progress, on_saved=saved.append, **options
            )
    except BaseException:
        with terminal_may_be_gone():
            say_notes(source.notes[said:])
            say_what_is_kept(saved)
        raise
    with terminal_may_be_gone():
        if stats.network_hangs:
            typer.echo("segopt: the network did not come back; what was done before it is kept", err=True)
        say_notes([*source.notes[said:], *stats.notes])
        say_stats(stats, segmenter.card)
        say_gaps(source)
        say_what_is_kept(saved)
    return 0 if stats.interrupt is None else exit_status(stats.interrupt)


def _preview(option: str) -> PreviewServer:
    from segopt.preview.address import Address
    from segopt.preview.server import PreviewServer

    server = PreviewServer(Address.parse(option))
    typer.echo(f"preview: {server.url}")
    return server


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
