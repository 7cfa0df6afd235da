"""``segopt export``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segopt.cli.build import build_and_report
from segopt.cli.export_report import report
from segopt.cli.quantization import Int8Loss
from segopt.cli.steps import step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segopt.frame import Frame

_SCENE_SEED = 100_000
"""Scenes from here on are those that the demo networks were trained on."""


def export(
    mode: Annotated[str, typer.Option(help="semantic, instance or panoptic.")],
    network: Annotated[
        str | None,
        typer.Option(
            help="The network: a name, or an import path to what builds yours, such as my_project.models:build; "
            "of a panoptic export, one that answers both."
        ),
    ] = None,
    semantic: Annotated[str | None, typer.Option(help="Panoptic: the semantic network.")] = None,
    instance: Annotated[str | None, typer.Option(help="Panoptic: the instance network.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="default, demo, random, a .pth, .pt, .safetensors or .pkl file, or a folder of Hugging Face's."
        ),
    ] = None,
    semantic_weights: Annotated[
        str | None, typer.Option(help="Panoptic: weights of the semantic network.")
    ] = None,
    instance_weights: Annotated[
        str | None, typer.Option(help="Panoptic: weights of the instance network.")
    ] = None,
    weights_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Which of a file's networks: the key of its weights, such as model_ema."),
    ] = None,
    semantic_weights_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Panoptic: key in the semantic network's file.")
    ] = None,
    instance_weights_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Panoptic: key in the instance network's file.")
    ] = None,
    weights_style: Annotated[
        str | None,
        typer.Option(help="Of mmdetection's checkpoints without a configuration: pytorch or caffe."),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="JSON file: names, or COCO categories, of a weights file's classes.")
    ] = None,
    semantic_classes: Annotated[
        Path | None, typer.Option(help="Panoptic: classes of the semantic network.")
    ] = None,
    instance_classes: Annotated[
        Path | None, typer.Option(help="Panoptic: classes of the instance network.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            help="JSON file of what weights do not hold: anchors, thresholds, mean. settings_of() makes it."
        ),
    ] = None,
    semantic_settings: Annotated[
        Path | None, typer.Option(help="Panoptic: settings of the semantic network.")
    ] = None,
    instance_settings: Annotated[
        Path | None, typer.Option(help="Panoptic: settings of the instance network.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW", help="Canvas in pixels, multiples of 32.", show_default="800x1344; semantic 512x896"
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Frames at once.")] = 1,
    max_detections: Annotated[
        int | None,
        typer.Option(help="Detections per frame.", show_default="the network's own box_detections_per_img, 100"),
    ] = None,
    candidates: Annotated[
        int, typer.Option(help="Boxes above the score threshold that enter suppression; at most 3840.")
    ] = 2000,
    suppression_steps: Annotated[int, typer.Option(help="Steps of suppression in the graph.")] = 20,
    proposals: Annotated[
        int | None,
        typer.Option(
            help="Regions that a detector's box head looks at; fewer are faster, and find less.",
            show_default="the network's own rpn_post_nms_top_n_test, 1000",
        ),
    ] = None,
    map_scale: Annotated[
        int, typer.Option(help="Query networks: 2 makes a map of twice the canvas's sides, for finer borders.")
    ] = 1,
    roi_align: Annotated[
        str | None,
        typer.Option(
            metavar="grid|gather",
            help="How boxes are read from the features.",
            show_default="gather for the CPU, grid for TensorRT but versions that compute GridSample wrongly",
        ),
    ] = None,
    all_masks: Annotated[
        bool,
        typer.Option(
            "--all-masks",
            help="For the CPU: a mask for each slot, not for detections alone; no loop in the graph.",
        ),
    ] = False,
    frozen_norm_eps: Annotated[
        float | None,
        typer.Option(
            help="Epsilon of a Mask R-CNN file's frozen batch norms: 1e-5 where training began from ImageNet."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16 or int8.", show_default="fp16 where a TensorRT plan is built from the file, else fp32"
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="fp16 and int8: pictures like yours; scales and what stays in FP32 are found on them.",
            show_default="fp16: a synthetic image",
        ),
    ] = None,
    int8_loss: Int8Loss = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="cpu or tensorrt: what the graph is made fast for.",
            show_default="tensorrt where a plan is built from it, else cpu",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .onnx file.", show_default="engines/MODE-NETWORKS-PRECISION.onnx"),
    ] = None,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Build no TensorRT plan, even where a TensorRT is installed.")
    ] = False,
) -> None:
    """Export a torchvision network to one ONNX file, checked against PyTorch."""
    from segopt_export.packages import need_export_packages

    need_export_packages()
    from segopt.builder.options import BuildOptions
    from segopt.model.sidecar import check_ours
    from segopt.tensorrt.flavor import builder_here, grid_sample_is_wrong
    from segopt_export.exporter import export as export_request
    from segopt_export.from_options import request_of
    from segopt_export.request import DEMO_CANVAS

    builder = None if no_build else builder_here()
    chosen = target or ("tensorrt" if builder else "cpu")
    request = request_of(
        mode,
        network=network,
        weights=weights,
        weights_key=weights_key,
        weights_style=weights_style,
        classes=classes,
        settings=settings,
        semantic=semantic,
        semantic_weights=semantic_weights,
        semantic_weights_key=semantic_weights_key,
        semantic_classes=semantic_classes,
        semantic_settings=semantic_settings,
        instance=instance,
        instance_weights=instance_weights,
        instance_weights_key=instance_weights_key,
        instance_classes=instance_classes,
        instance_settings=instance_settings,
        size=size,
        batch=batch,
        max_detections=max_detections,
        candidates=candidates,
        suppression_steps=suppression_steps,
        proposals=proposals,
        map_scale=map_scale,
        roi_align=roi_align or ("gather" if builder and grid_sample_is_wrong(builder) else None),
        all_masks=all_masks,
        frozen_norm_eps=frozen_norm_eps,
        precision=precision or ("fp16" if builder else "fp32"),
        calibration=calibration,
        int8_loss=int8_loss,
        target=chosen,
        output=output,
    )
    if precision == "int8" and calibration is None and all(w.spec == "demo" for w in request.weights.values()):
        request = replace(request, calibration=_scenes(request.canvas or DEMO_CANVAS))
    if builder and request.output is not None:
        check_ours(request.output.with_suffix(".plan"))
    began = time.perf_counter()
    made = export_request(request, step=step)
    if not no_build:
        made.notes.append(_note_on_plan(builder, None if target else chosen))
    if builder and precision is None:
        made.notes.append("half precision, since a plan is built from the file; --precision fp32 makes it single")
    report(made, time.perf_counter() - began)
    if builder:
        check_ours(made.path.with_suffix(".plan"))
        build_and_report(made.path, BuildOptions(runtime=builder))
    else:
        typer.echo(f"\nNext: segopt run --engine {made.path} SOURCE")


def _scenes(canvas: tuple[int, int]) -> Sequence[Frame]:
    """Synthetic streets, for which the demo networks are made."""
    from segopt_bench.scenes import Scene

    return [Scene(seed).render(*canvas).frame for seed in range(_SCENE_SEED, _SCENE_SEED + 32)]


def _note_on_plan(builder: str | None, target: str | None) -> str:
    """What becomes of the file, and why it was made for this target where the user named none."""
    from segopt.tensorrt.flavor import HOW_TO_INSTALL, installed_flavors

    if builder:
        chosen = "; the file was made fast for that, --target cpu makes it fast for ONNX Runtime" if target else ""
        return f"a plan is built with {builder} (--no-build: none){chosen}"
    chosen = ", and the file was made fast for the CPU (--target tensorrt: for a GPU)" if target else ""
    if installed_flavors():
        return f"no plan was built, since there is no GPU here{chosen}; run `segopt build` where the plan will run"
    return f"no plan was built, since no TensorRT is installed{chosen}; {HOW_TO_INSTALL}"
