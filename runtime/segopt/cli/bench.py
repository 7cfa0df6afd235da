"""``segopt bench``: how fast a model is, against the PyTorch network or the file that it came from."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from segopt.cli.engines import InferencePrecision, take
from segopt.cli.run import DEVICES, check_device
from segopt.cli.steps import counting
from segopt.cli.weight_files import InstanceWeights, SemanticWeights, weight_files
from segopt.errors import UsageError

if TYPE_CHECKING:
    from segopt_bench.latency.report import Report


def bench(
    engine: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", help="Model that `segopt export` or `segopt build` made.", show_default=False
        ),
    ],
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="More models.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Picture, folder or video to take the frames from.",
            show_default="synthetic scenes of the canvas's size",
        ),
    ] = None,
    pictures: Annotated[int, typer.Option(metavar="N", help="How many different frames.", min=1)] = 8,
    rounds: Annotated[int, typer.Option(metavar="N", help="How often each model is timed, in turn.", min=1)] = 30,
    warmup: Annotated[int, typer.Option(metavar="N", help="Rounds before those, not counted.", min=0)] = 3,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Time torch.compile of the PyTorch network, too; it takes minutes.")
    ] = False,
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="Evaluate all of them on synthetic scenes with ground truth, too.")
    ] = False,
    scenes: Annotated[int, typer.Option(metavar="N", help="--accuracy: how many scenes.", min=1)] = 50,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Say what each model costs: latency alone, frames a second with cameras, memory, and what limits "
            "them; PyTorch takes no part.",
        ),
    ] = False,
    cameras: Annotated[
        int | None,
        typer.Option(metavar="N", help="--plan: how many cameras at once.", show_default="4"),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show the slowest nodes and operators, from ONNX Runtime's profile.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The network's weights, where a file had them; of a wrapped model its own ONNX file.",
        ),
    ] = None,
    semantic_weights: SemanticWeights = None,
    instance_weights: InstanceWeights = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write everything, every round too.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of --json and --report that are there.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page with tables and plots.", show_default=False)
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar=DEVICES, callback=check_device, help="Where to run; auto takes a GPU where one works."
        ),
    ] = "auto",
    inference_precision: InferencePrecision = None,
) -> None:
    """Measure latency stage by stage, against PyTorch (or a wrapped model's own file) on the same frames."""
    from segopt.files.atomic import check_new, check_writable, make_folder, write_json
    from segopt_bench.latency.benchmark import Request, run_benchmark
    from segopt_bench.latency.contenders import EagerOptions

    others = {
        "--accuracy": accuracy,
        "--compile": compiled,
        "--layers": layers,
        "--report": report is not None,
        "--weights": weights is not None or semantic_weights is not None or instance_weights is not None,
    }
    if plan and (idle := [name for name, value in others.items() if value]):
        raise UsageError(f"--plan measures models alone: leave {', '.join(idle)} out")
    if cameras is not None and not plan:
        raise UsageError("--cameras is for --plan; add it, or leave --cameras out")
    engines = [take(each, device) for each in (*engine, *(more or ()))]
    if plan:
        measured = {
            "cameras": 4 if cameras is None else cameras,
            "device": device,
            "data": data,
            "pictures": pictures,
            "rounds": rounds,
            "inference_precision": inference_precision,
        }
        _plan(engines, measured, json, overwrite)
        return
    if report is not None:
        from segopt_bench.latency.markdown import check_report, write_report
        from segopt_bench.latency.plots import need_matplotlib

        need_matplotlib("--report")
        check_report(report, engines, json, overwrite=overwrite)
        make_folder(report)
    if json is not None:
        check_new(json, overwrite=overwrite)
        check_writable(json)
    files = weight_files(weights, semantic_weights, instance_weights)
    found = run_benchmark(
        Request(
            engines=engines,
            data=data,
            pictures=pictures,
            rounds=rounds,
            warmup=warmup,
            device=device,
            eager=EagerOptions(files, compiled),
            accuracy_scenes=scenes if accuracy else 0,
            layers=layers,
            inference_precision=cast("Any", inference_precision),
        ),
        watch=partial(counting, stays=False),
    )
    _show(found)
    if json is not None:
        write_json(json, found.to_json(), overwrite=overwrite)
        typer.echo(f"figures: {json}")
    if report is not None:
        typer.echo(f"report: {write_report(report, found, overwrite=overwrite)}")


def _plan(engines: list[Path], measured: dict[str, Any], json: Path | None, overwrite: bool) -> None:
    from segopt.files.atomic import check_new, check_writable, write_json
    from segopt_bench.plan.planning import lines, make_plans
    from segopt_bench.reporting.machine import describe_machine, this_moment, warnings

    if json is not None:
        check_new(json, overwrite=overwrite)
        check_writable(json)
    machine, before = describe_machine(), this_moment()
    plans = make_plans(engines, **measured)
    for plan in plans:
        for line in lines(plan):
            typer.echo(line)
        for note in plan.found.notes:
            typer.echo(f"note: {note}")
    typer.echo(f"pictures: {plans[0].found.frames}; each camera's results are drawn and encoded")
    typer.echo(f"machine: {machine.cpu}, {machine.cores} cores; {machine.gpu or 'no GPU'}")
    for warning in warnings(before, this_moment(), machine.cores):
        typer.echo(f"doubtful: {warning}")
    if json is not None:
        write_json(json, {"plans": [plan.to_json() for plan in plans]}, overwrite=overwrite)
        typer.echo(f"figures: {json}")


def _show(report: Report) -> None:
    from rich.console import Console

    from segopt_bench.latency.tables import latency_table, layer_tables, stages_table
    from segopt_bench.reporting.machine import UNKNOWN
    from segopt_bench.reporting.stages import TIMED_REGION
    from segopt_bench.reporting.terminal import as_rich

    console = Console()
    for group in report.groups:
        console.print(as_rich(latency_table(group)))
        console.print(as_rich(stages_table(group)))
        for name, profile in group.layers.items():
            for table in layer_tables(name, profile):
                console.print(as_rich(table))
        for missing in group.missing:
            typer.echo(f"missing: {missing.name}: {missing.reason}")
        for note in group.notes:
            typer.echo(f"note: {note}")
        typer.echo(f"pictures: {group.fit}")
    typer.echo(f"timed: {TIMED_REGION}; medians of {report.rounds} rounds in turn on {report.pictures}")
    typer.echo(f"machine: {report.machine.cpu}, {report.machine.cores} cores; {report.machine.gpu or 'no GPU'}")
    known = {what: how for what, how in report.conditions.items() if how != UNKNOWN}
    typer.echo("; ".join(f"{what}: {how}" for what, how in known.items()))
    typer.echo(f"{UNKNOWN}: {', '.join(what for what in report.conditions if what not in known) or 'nothing'}")
    for warning in report.warnings:
        typer.echo(f"doubtful: {warning}")
