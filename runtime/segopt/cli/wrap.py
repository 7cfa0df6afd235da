"""``segopt wrap``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from segopt.cli.export_report import report
from segopt.cli.steps import step


def wrap(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL.onnx", help="An ONNX file of another maker.", show_default=False),
    ],
    classes: Annotated[
        Path,
        typer.Option(metavar="FILE", help="JSON file: a list of names, or COCO categories.", show_default=False),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="KIND",
            help="semantic-logits or semantic-map: what the network answers.",
            show_default="what its outputs' shapes say",
        ),
    ] = None,
    take: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The output to take.", show_default="the one that fits"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Canvas in pixels.", show_default="the size of the network's input"),
    ] = None,
    network_size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Size of the network's input, where the file leaves it free: the canvas is resized to it.",
            show_default="the canvas",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Frames at once.")] = 1,
    mean: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="Mean of pixels scaled to 0..1.", show_default="0.485,0.456,0.406"),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="Their standard deviation.", show_default="0.229,0.224,0.225"),
    ] = None,
    colors: Annotated[
        str | None,
        typer.Option(metavar="rgb|bgr", help="The order in which the network takes them.", show_default="rgb"),
    ] = None,
    target: Annotated[
        str, typer.Option(help="cpu or tensorrt: what is to run it; for tensorrt its type rules are checked.")
    ] = "cpu",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .onnx file.", show_default="engines/semantic-NAME.onnx"),
    ] = None,
) -> None:
    """Make a model of another maker's ONNX file, checked against it."""
    from segopt_export.packages import need_wrap_packages

    need_wrap_packages()
    from segopt_export.wrapping.from_options import wrap_request
    from segopt_export.wrapping.wrap import wrap as wrap_file

    request = wrap_request(
        model,
        classes=classes,
        kind=kind,
        take=take,
        size=size,
        network_size=network_size,
        batch=batch,
        mean=mean,
        std=std,
        colors=colors,
        target=target,
        output=output,
    )
    began = time.perf_counter()
    made = wrap_file(request, step=step)
    report(made, time.perf_counter() - began)
    typer.echo(f"\nNext: segopt run --engine {made.path} SOURCE")
