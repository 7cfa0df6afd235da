"""``segopt label``: a model over more videos and pictures than one process can do."""

from __future__ import annotations

import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segopt.cli.engines import Engine, Precision, ScoreThreshold, StuffArea, take
from segopt.cli.run import DEVICES, check_device
from segopt.errors import printable

if TYPE_CHECKING:
    from segopt.labeling.run import Outcome

_MOST_LINES = 10


class Format(str, Enum):
    """Of the shards."""

    coco = "coco"
    webdataset = "webdataset"


def label(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Video, picture, folder (with all below it), 'glob*.mp4', s3://, gs:// or hdfs:// URI of any of "
            "these; @FILE names one a line.",
            show_default=False,
        ),
    ],
    engine: Engine,
    output: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder for the shards, which all workers must reach.", show_default=False
        ),
    ],
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Workers, each with the model.", show_default="as many as fit"),
    ] = None,
    cpus_per_worker: Annotated[
        int, typer.Option(metavar="N", min=1, max=1024, help="CPUs of each, and threads of its network.")
    ] = 1,
    gpus_per_worker: Annotated[
        float, typer.Option(metavar="F", min=0, help="GPUs of each; 0.5 lets two share one.")
    ] = 0,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST[:PORT]",
            help="A Ray cluster that runs.",
            show_default="start Ray on this machine",
        ),
    ] = None,
    connect_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="How long Ray may take to start, or to answer.")
    ] = 60,
    format: Annotated[
        Format,
        typer.Option(help="COCO panoptic PNGs + json, or tars of samples (jpg, png, json) for training."),
    ] = Format.coco,
    track: Annotated[
        bool, typer.Option("--track", help="Give each object of a video a number that it keeps.")
    ] = False,
    pictures_per_unit: Annotated[
        int, typer.Option(metavar="N", min=1, help="Pictures that are done, or done again, as a whole.")
    ] = 100,
    score_threshold: ScoreThreshold = None,
    stuff_area: StuffArea = None,
    device: Annotated[
        str,
        typer.Option(metavar=DEVICES, callback=check_device, help="Where each worker runs the model."),
    ] = "auto",
    precision: Precision = None,
) -> None:
    """Label many videos and pictures on all cores of a machine, or on a Ray cluster.

    Run it again to go on after any end, or to add sources: what is done is skipped. DIR/panoptic.json holds all.
    """
    from segopt.labeling.on_ray import Cluster, import_ray, native_lines_dropped

    import_ray()
    from segopt.labeling.run import Request, label

    began = time.monotonic()
    limits: dict[str, Any] = {"score_threshold": score_threshold, "stuff_area": stuff_area}
    request = Request(
        engine=take(engine, device, precision),
        sources=source,
        output=output,
        format=format.value,
        track=track,
        limits={name: value for name, value in limits.items() if value is not None},
        device=device,
        threads=cpus_per_worker,
        pictures=pictures_per_unit,
    )
    cluster = Cluster(workers, cpus_per_worker, gpus_per_worker, address, connect_timeout)
    from segopt.cli.label_bar import Bar

    with native_lines_dropped(), Bar() as bar:
        outcome = label(request, cluster, bar)
    _say(outcome, request.output, time.monotonic() - began)
    if outcome.failed:
        raise typer.Exit(1)


def _say(outcome: Outcome, output: Path, seconds: float) -> None:
    progress = outcome.progress
    for note in outcome.notes:
        typer.echo(f"note: {note}")
    for entry in outcome.failed[:_MOST_LINES]:
        kept = f" ({entry['frames']} frames before that are kept)" if entry["frames"] else ""
        text = str(entry["error"])
        name = str(entry["source"])
        line = text if name in text or entry["unit"] is None else f"{name}: {text}"
        print(f"segopt: error: {printable(' '.join(line.split()))}{kept}", file=sys.stderr)
    if (more := len(outcome.failed) - _MOST_LINES) > 0:
        print(f"segopt: error: and {more} more, see {output / 'failed.jsonl'}", file=sys.stderr)
    words = [f"{progress.done} of {progress.units} units done"]
    if progress.before:
        words.append(f"{progress.before} were done before")
    if progress.repeated:
        words.append(f"{progress.repeated} done again after their worker died")
    words.append(f"{progress.frames} frames in {seconds:.1f} s")
    typer.echo(", ".join(words))
    if outcome.images:
        typer.echo(f"COCO panoptic: {output / 'panoptic.json'} ({outcome.images} images)")
    if outcome.failed:
        typer.echo(f"failed: {output / 'failed.jsonl'} ({len(outcome.failed)})")
