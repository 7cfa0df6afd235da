"""``segopt export``."""

from __future__ import annotations

import importlib.util
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from segopt.card import MODES, Mode
from segopt.cli.steps import step
from segopt.errors import ExportError, UsageError

if TYPE_CHECKING:
    from segopt_export.exporter import Exported


def export(
    mode: Annotated[str, typer.Option(help="semantic, instance or panoptic.")],
    network: Annotated[str | None, typer.Option(help="Network of a semantic or instance export.")] = None,
    semantic: Annotated[str | None, typer.Option(help="Panoptic: the semantic network.")] = None,
    instance: Annotated[str | None, typer.Option(help="Panoptic: the instance network.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="default, demo, random, or a .pth, .pt or .safetensors file.")
    ] = None,
    semantic_weights: Annotated[str | None, typer.Option(help="Panoptic: of the semantic network.")] = None,
    instance_weights: Annotated[str | None, typer.Option(help="Panoptic: of the instance network.")] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Json file: names, or COCO categories, of a weights file's classes.")
    ] = None,
    semantic_classes: Annotated[Path | None, typer.Option(help="Panoptic: of the semantic network.")] = None,
    instance_classes: Annotated[Path | None, typer.Option(help="Panoptic: of the instance network.")] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW", help="Canvas in pixels, multiples of 32.", show_default="800x1344; semantic 512x896"
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Frames at once.")] = 1,
    max_detections: Annotated[int, typer.Option(help="Detections per frame.")] = 100,
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
    target: Annotated[str, typer.Option(help="cpu or tensorrt: what the graph is made fast for.")] = "cpu",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .onnx file.", show_default="engines/MODE-NETWORKS-PRECISION.onnx"),
    ] = None,
) -> None:
    """Export a torchvision network to one ONNX file, checked against PyTorch."""
    need_export_packages()
    from segopt_export.exporter import BRANCHES, ExportRequest
    from segopt_export.exporter import export as export_request
    from segopt_export.maskrcnn import DetectionLimits, Target
    from segopt_export.weights import WeightsRequest

    checked_mode = cast("Mode", _one_of("mode", mode, MODES))
    checked_target = cast("Target", _one_of("target", target, get_args(Target)))
    options = _by_branch(
        checked_mode,
        shared={"network": network, "weights": weights, "classes": classes},
        semantic={"network": semantic, "weights": semantic_weights, "classes": semantic_classes},
        instance={"network": instance, "weights": instance_weights, "classes": instance_classes},
    )
    branches = BRANCHES[checked_mode]
    request = ExportRequest(
        mode=checked_mode,
        networks={b: options[b]["network"] for b in branches if options[b]["network"]},
        weights={
            b: WeightsRequest(options[b]["weights"] or "default", options[b]["classes"], frozen_norm_eps)
            for b in branches
        },
        canvas=_size(size),
        batch=batch,
        limits=DetectionLimits(max_detections, candidates, suppression_steps),
        target=checked_target,
        output=output,
    )
    began = time.perf_counter()
    _report(export_request(request, step=step), time.perf_counter() - began)


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
    if mode == "panoptic":
        for name in ("network", "classes"):
            if shared[name] is not None:
                raise UsageError(
                    f"--{name} does not say which network of a panoptic export it is for; "
                    + ("give --semantic and --instance" if name == "network" else "give --semantic-classes")
                )
        if shared["weights"] not in (None, "default", "demo", "random"):
            raise UsageError(
                f"--weights {shared['weights']} is one file for two networks; "
                "give --semantic-weights and --instance-weights"
            )
        return {b: {**given, "weights": given["weights"] or shared["weights"]} for b, given in own.items()}
    for branch, given in own.items():
        for name, value in given.items():
            if value is not None:
                option = branch if name == "network" else f"{branch}-{name}"
                raise UsageError(f"--{option} is for panoptic exports; a {mode} export takes --{name}")
    return {mode: shared}


def _report(made: Exported, seconds: float) -> None:
    from rich.console import Console

    from segopt.contract import input_specs, output_specs

    console = Console(highlight=False, soft_wrap=True)
    size = made.path.stat().st_size / 1e6
    console.print(f"\n[bold]{made.path}[/bold]  {size:.1f} MB, {made.card.precision}, {seconds:.0f} s")
    for kind, tensors in (("input", input_specs(made.card)), ("output", output_specs(made.card))):
        for name, spec in tensors.items():
            console.print(f"  {kind:<7} {name:<10} {spec.dtype!s:<8} {list(spec.shape)}", markup=False)
    for figure in made.figures:
        console.print(f"  parity  {figure.name}: {figure.text}")
    for note in made.notes:
        console.print(f"  [yellow]note[/yellow]    {note}")
    console.print(f"\nNext: segopt run --engine {made.path} SOURCE")
