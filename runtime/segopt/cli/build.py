"""``segopt build``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segopt.cli.engines import Precision
from segopt.cli.steps import phases, step

if TYPE_CHECKING:
    from segopt.builder.build import Built
    from segopt.builder.options import BuildOptions
    from segopt.model.sidecar import PlanRecord


def build(
    model: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="An .onnx file that `segopt export` made.", show_default=False),
    ],
    runtime: Annotated[
        str | None,
        typer.Option(help="tensorrt or tensorrt-rtx.", show_default="what is installed, and fits the GPU"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .plan file.", show_default="the .onnx file's name, beside it"),
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for kernel times, which make later builds faster."),
    ] = None,
    workspace: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Most scratch memory, such as 512MiB or 2GiB.", show_default="all of the GPU's"
        ),
    ] = None,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Run on other GPUs of compute capability 8.0 or later.")
    ] = False,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Run with later versions of TensorRT.")
    ] = False,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="TensorRT-RTX: build for these, such as 8.6,8.9.",
            show_default="8.0, 8.6, 8.9, 12.x",
        ),
    ] = None,
    optimization_level: Annotated[
        int | None,
        typer.Option(
            metavar="0..5", help="A higher level takes longer to build.", show_default="TensorRT's own, 3"
        ),
    ] = None,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let a model in FP32 multiply in TF32: faster, as coarse as FP16.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            help="Where this machine has the GPU: run the plan, and refuse one that answers differently from ONNX "
            "Runtime on the CPU.",
        ),
    ] = True,
    verify_on: Annotated[
        Path | None,
        typer.Option(
            metavar="PICTURES", help="--verify: a picture or a folder of them.", show_default="synthetic ones"
        ),
    ] = None,
    precision: Precision = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a plan of that name, and its sidecar.")
    ] = False,
) -> None:
    """Build a TensorRT plan from an .onnx file, on the machine that will run it."""
    from segopt.builder.folder import in_folder
    from segopt.builder.from_options import build_options

    options = build_options(
        runtime=runtime,
        output=output,
        timing_cache=timing_cache,
        workspace=workspace,
        hardware_compatible=hardware_compatible,
        version_compatible=version_compatible,
        compute_capabilities=() if compute_capability is None else compute_capability,
        optimization_level=optimization_level,
        tf32=tf32,
        verify=verify,
        verify_on=verify_on,
    )
    if model.is_dir():
        model, options = in_folder(model, options, precision)
    path = options.output or model.with_suffix(".plan")
    # What is no plan, or is to be made of one, is refused for that.
    if not overwrite and path.suffix == ".plan" != model.suffix:
        from segopt.model.sidecar import check_new_pair

        check_new_pair(path)
    build_and_report(model, options)


def build_and_report(model: Path, options: BuildOptions) -> None:
    """Build, with the steps on stderr and what was made on stdout; errors as ``segopt.builder.build.build``."""
    from segopt.builder.build import build

    began = time.perf_counter()
    built = build(model, options, step=step, phases=phases)
    _report(model, built, time.perf_counter() - began)


def _report(model: Path, built: Built, seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    from segopt.model.sidecar import sidecar_path

    console = Console(highlight=False, soft_wrap=True)
    size, precision = f"{built.size / 1e6:.1f} MB", built.sidecar.card.precision
    console.print(Text.assemble("\n", (str(built.path), "bold"), f"  {size}, {precision}, {seconds:.0f} s"))
    for name, value in describe_plan(built.sidecar.plan):
        console.print(f"  {name:<14} {value}", markup=False)
    console.print(f"  {'sidecar':<14} {sidecar_path(built.path).name}", markup=False)
    for note in built.notes:
        console.print(Text.assemble("  ", ("note", "yellow"), f"           {note}"))
    elsewhere = "" if built.runs_here else f", on a machine with such a GPU; here, --engine {model}"
    console.print(f"\nNext: segopt run --engine {built.path} SOURCE{elsewhere}", markup=False)


def describe_plan(plan: PlanRecord) -> list[tuple[str, str]]:
    """What to tell of a plan: name and text."""
    from segopt.tensorrt.flavor import TRAITS

    capabilities = ", ".join(plan.compute_capabilities)
    built_for = f"{plan.gpu}, compute capability {capabilities}"
    if plan.hardware_compatible:
        built_for = f"{plan.gpu}, and other GPUs of compute capability 8.0 and later"
    elif not plan.gpu:
        built_for = f"GPUs of compute capability {capabilities}"
    later = " or later" if plan.version_compatible else ""
    return [
        ("built with", f"{TRAITS[plan.runtime].title} {plan.version}{later}, segopt {plan.segopt}"),
        ("built for", built_for),
        ("built from", plan.model),
        ("layers in half", f"{plan.half_share:.1%} of convolutions and fully connected layers"),
    ]
