"""``segopt export``."""

from __future__ import annotations

import importlib.util
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from segopt.cli.build import build_and_report
from segopt.cli.steps import step
from segopt.errors import ExportError, UsageError
from segopt.model.card import MODES, Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segopt.frame import Frame
    from segopt_export.exporter import Exported
    from segopt_export.networks.table import Branch

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
        str | None, typer.Option(help="default, demo, random, or a .pth, .pt, .safetensors or .pkl file.")
    ] = None,
    semantic_weights: Annotated[str | None, typer.Option(help="Panoptic: of the semantic network.")] = None,
    instance_weights: Annotated[str | None, typer.Option(help="Panoptic: of the instance network.")] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Json file: names, or COCO categories, of a weights file's classes.")
    ] = None,
    semantic_classes: Annotated[Path | None, typer.Option(help="Panoptic: of the semantic network.")] = None,
    instance_classes: Annotated[Path | None, typer.Option(help="Panoptic: of the instance network.")] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            help="Json file of what weights do not hold: anchors, thresholds, mean. settings_of() makes it."
        ),
    ] = None,
    semantic_settings: Annotated[Path | None, typer.Option(help="Panoptic: of the semantic network.")] = None,
    instance_settings: Annotated[Path | None, typer.Option(help="Panoptic: of the instance network.")] = None,
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
    need_export_packages()
    from segopt.builder.options import BuildOptions
    from segopt.tensorrt.flavor import builder_here
    from segopt_export.exporter import export as export_request
    from segopt_export.precision.fitting import Precision
    from segopt_export.request import DEMO_CANVAS, ExportRequest
    from segopt_export.static.limits import DetectionLimits, Target
    from segopt_export.weights.loading import WeightsRequest

    checked_mode = cast("Mode", _one_of("mode", mode, MODES))
    builder = None if no_build else builder_here()
    chosen = target or ("tensorrt" if builder else "cpu")
    checked_target = cast("Target", _one_of("target", chosen, get_args(Target)))
    chosen_precision = precision or ("fp16" if builder else "fp32")
    checked_precision = cast("Precision", _one_of("precision", chosen_precision, get_args(Precision)))
    if calibration is not None and checked_precision == "fp32":
        raise UsageError("--calibration is for --precision fp16 and int8; fp32 needs no pictures")
    options = _by_branch(
        checked_mode,
        shared={"network": network, "weights": weights, "classes": classes, "settings": settings},
        semantic={
            "network": semantic,
            "weights": semantic_weights,
            "classes": semantic_classes,
            "settings": semantic_settings,
        },
        instance={
            "network": instance,
            "weights": instance_weights,
            "classes": instance_classes,
            "settings": instance_settings,
        },
    )
    branches = cast("Sequence[Branch]", list(options))
    request = ExportRequest(
        mode=checked_mode,
        networks={b: options[b]["network"] for b in branches if options[b]["network"]},
        weights={
            b: WeightsRequest(options[b]["weights"] or "default", options[b]["classes"], frozen_norm_eps)
            for b in branches
        },
        settings={b: options[b]["settings"] for b in branches if options[b]["settings"]},
        canvas=_size(size),
        batch=batch,
        limits=DetectionLimits(max_detections, candidates, suppression_steps),
        target=checked_target,
        precision=checked_precision,
        calibration=calibration,
        output=output,
    )
    if (
        checked_precision == "int8"
        and calibration is None
        and all(w.spec == "demo" for w in request.weights.values())
    ):
        request = replace(request, calibration=_scenes(request.canvas or DEMO_CANVAS))
    began = time.perf_counter()
    made = export_request(request, step=step)
    if not no_build:
        made.notes.append(_note_on_plan(builder, None if target else checked_target))
    if builder and precision is None:
        made.notes.append("half precision, since a plan is built from the file; --precision fp32 makes it single")
    _report(made, time.perf_counter() - began)
    if builder:
        build_and_report(made.path, BuildOptions(runtime=builder))
    else:
        typer.echo(f"\nNext: segopt run --engine {made.path} SOURCE")


def _scenes(canvas: tuple[int, int]) -> Sequence[Frame]:
    """Synthetic streets, for which the demo networks are made."""
    from segopt_bench.scenes import Scene

    return [Scene(seed).render(*canvas).frame for seed in range(_SCENE_SEED, _SCENE_SEED + 32)]


def need_export_packages() -> None:
    """Raise an ExportError where what an export needs is not installed."""
    for package in ("torch", "torchvision", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ExportError(f"export needs {package}, which is not installed: pip install 'segopt[export]'")


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f"--{option} {value} is unknown; give one of {', '.join(allowed)}")
    return value


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text.strip())
    if not found:
        raise UsageError(f"--size {text} is no size; give HEIGHTxWIDTH in pixels, such as 800x1344")
    return int(found[1]), int(found[2])


def _by_branch(
    mode: Mode, *, shared: dict[str, Any], semantic: dict[str, Any], instance: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Options of each branch; what names no branch belongs to the only one there is, or to both (weights)."""
    own = {"semantic": semantic, "instance": instance}
    of_two = any(value is not None for given in own.values() for value in given.values())
    if mode == "panoptic" and (shared["network"] is not None or (shared["weights"] == "demo" and not of_two)):
        return {"panoptic": _one_for_both(shared, own)}
    if mode == "panoptic":
        for name in ("classes", "settings"):
            if shared[name] is not None:
                raise UsageError(
                    f"--{name} does not say which network of a panoptic export it is for; give --semantic-{name} "
                    f"or --instance-{name}"
                )
        if shared["weights"] not in (None, "default", "demo", "random"):
            raise UsageError(
                f"--weights {shared['weights']} is one file for two networks; "
                "give --semantic-weights and --instance-weights, or --network with one network that answers both"
            )
        return {b: {**given, "weights": given["weights"] or shared["weights"]} for b, given in own.items()}
    for branch, given in own.items():
        for name, value in given.items():
            if value is not None:
                option = branch if name == "network" else f"{branch}-{name}"
                raise UsageError(f"--{option} is for panoptic exports; a {mode} export takes --{name}")
    return {mode: shared}


def _one_for_both(shared: dict[str, Any], own: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Options of a panoptic export of one network."""
    from segopt_export.networks.table import NETWORKS

    known = NETWORKS.get(shared["network"])
    if known is not None and known.branch != "panoptic":
        takers = ", ".join(network.name for network in NETWORKS.values() if network.branch == "panoptic")
        raise UsageError(
            f"--network {known.name} answers one half of a panoptic export; give --semantic and --instance, "
            f"or one network for both: {takers}"
        )
    for branch, given in own.items():
        for name, value in given.items():
            if value is not None:
                option = branch if name == "network" else f"{branch}-{name}"
                raise UsageError(
                    f"--{option} is for a panoptic export of two networks; --network names one for both"
                )
    return shared


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


def _report(made: Exported, seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    from segopt.model.tensors import input_specs, output_specs

    console = Console(highlight=False, soft_wrap=True)
    size = made.path.stat().st_size / 1e6
    console.print(f"\n[bold]{made.path}[/bold]  {size:.1f} MB, {made.card.precision}, {seconds:.0f} s")
    for kind, tensors in (("input", input_specs(made.card)), ("output", output_specs(made.card))):
        for name, spec in tensors.items():
            console.print(f"  {kind:<7} {name:<10} {spec.dtype!s:<8} {list(spec.shape)}", markup=False)
    for figure in made.figures:
        console.print(f"  parity  {figure.name}: {figure.text}")
    for note in made.notes:
        console.print(Text.assemble("  ", ("note", "yellow"), f"    {note}"))
