"""``segopt wrap``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from segopt.cli.export_report import report
from segopt.cli.quantization import Int8Loss
from segopt.cli.steps import step
from segopt.errors import UsageError

_DETECTORS = "Detections"
_FRAMES = "Frames"


def wrap(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL.onnx", help="An ONNX file of another maker.", show_default=False),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON file: a list of names, or COCO categories.", show_default=False),
    ] = None,
    semantic: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="In place of MODEL: a semantic model of segopt, for a panoptic one.",
            show_default=False,
        ),
    ] = None,
    instance: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="And the instance model beside it.", show_default=False),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="KIND",
            help="semantic-logits, semantic-map, detr-masks, maskrcnn or yolo-seg: what the network answers.",
            show_default="what its outputs' names and shapes say",
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="rfdetr or ultralytics: kind, normalization, colors and resizing of that library's files.",
            show_default=False,
        ),
    ] = None,
    take: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The output to take; of several, boxes=NAME,masks=NAME and so on.",
            show_default="what fits",
        ),
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
    batch: Annotated[int | None, typer.Option(help="Frames at once.", show_default="1")] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Mean of pixels scaled to 0..1.",
            show_default="0.485,0.456,0.406",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Their standard deviation.",
            show_default="0.229,0.224,0.225",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    colors: Annotated[
        str | None,
        typer.Option(
            metavar="rgb|bgr",
            help="The order in which the network takes them.",
            show_default="rgb",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            metavar="letterbox|stretch",
            help="Whether frames keep their aspect on the canvas.",
            show_default="letterbox",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    padding: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Color beside a letterboxed frame, 0 to 255.",
            show_default="the mean",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(help="Slots for detections.", show_default="100", rich_help_panel=_DETECTORS),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            metavar="sigmoid|softmax",
            help="detr-masks: what makes scores of class logits.",
            show_default="sigmoid",
            rich_help_panel=_DETECTORS,
        ),
    ] = None,
    paste: Annotated[
        str | None,
        typer.Option(
            help="maskrcnn: torchvision or detectron2, how masks are laid onto pixels.",
            show_default="torchvision",
            rich_help_panel=_DETECTORS,
        ),
    ] = None,
    iou: Annotated[
        float | None,
        typer.Option(
            help="yolo-seg: boxes that overlap a better one of their class by more are suppressed.",
            show_default="0.7",
            rich_help_panel=_DETECTORS,
        ),
    ] = None,
    least_score: Annotated[
        float | None,
        typer.Option(
            help="yolo-seg: boxes of lower scores do not enter suppression.",
            show_default="0.05",
            rich_help_panel=_DETECTORS,
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            help="yolo-seg: so many boxes enter suppression.", show_default="1000", rich_help_panel=_DETECTORS
        ),
    ] = None,
    suppression_steps: Annotated[
        int | None,
        typer.Option(
            help="yolo-seg: steps of suppression in the graph.", show_default="20", rich_help_panel=_DETECTORS
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, fp16 or int8: what multiplies by weights computes in it.", show_default="fp32"),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Pictures like yours: half precision is tried on them, INT8 takes its scales from them.",
            show_default=False,
        ),
    ] = None,
    int8_loss: Int8Loss = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="cpu or tensorrt: what is to run it; for tensorrt its type rules are checked.", show_default="cpu"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .onnx file.", show_default="engines/MODE-NAME.onnx"),
    ] = None,
) -> None:
    """Make a model of another maker's ONNX file, checked against it; or a panoptic one of two models."""
    from segopt_export.packages import need_wrap_packages

    need_wrap_packages()
    from segopt_export.wrapping.from_options import NOTHING_TO_WRAP, fusion_request, wrap_request
    from segopt_export.wrapping.fusion import fuse
    from segopt_export.wrapping.wrap import wrap as wrap_file

    options: dict[str, Any] = {
        "classes": classes,
        "kind": kind,
        "family": family,
        "take": take,
        "size": size,
        "network_size": network_size,
        "batch": batch,
        "mean": mean,
        "std": std,
        "colors": colors,
        "resize": resize,
        "padding": padding,
        "max_detections": max_detections,
        "scores": scores,
        "paste": paste,
        "iou": iou,
        "least_score": least_score,
        "candidates": candidates,
        "suppression_steps": suppression_steps,
        "precision": precision,
        "calibration": calibration,
        "int8_loss": int8_loss,
        "target": target,
        "output": output,
    }
    began = time.perf_counter()
    if semantic is not None or instance is not None:
        made = fuse(fusion_request(model, semantic=semantic, instance=instance, **options), step=step)
    elif model is None or classes is None:
        raise UsageError(NOTHING_TO_WRAP)
    else:
        given = {name: value for name, value in options.items() if value is not None}
        made = wrap_file(wrap_request(model, **given), step=step)
    report(made, time.perf_counter() - began)
    typer.echo(f"\nNext: segopt run --engine {made.path} SOURCE")
