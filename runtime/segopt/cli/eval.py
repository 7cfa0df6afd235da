"""``segopt eval``: how right a model is, measured on annotated pictures."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segopt.cli.engines import InferencePrecision, Precision, SomeEngine, take
from segopt.cli.run import DEVICES, View, check_device
from segopt.cli.steps import counting
from segopt.cli.weight_files import InstanceWeights, SemanticWeights, weight_files
from segopt.errors import UsageError

if TYPE_CHECKING:
    from segopt.segmenter import Segmenter
    from segopt_bench.evaluation import Data, Evaluation, Scores


_TORCH = "torch"


def eval(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Pictures with ground truth: COCO panoptic, COCO instances, index maps; or one COCO json file.",
            show_default=False,
        ),
    ],
    engine: SomeEngine = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="In place of --engine: folder that `segopt run --save panoptic` wrote.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="torch|FILE",
            help="Evaluate another one too, and show the difference: the PyTorch network that the model came "
            "from, or another model.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="--against torch: the weights file, where there was one."),
    ] = None,
    semantic_weights: SemanticWeights = None,
    instance_weights: InstanceWeights = None,
    mode: Annotated[
        View | None,
        typer.Option(help="Evaluate this view alone.", show_default="all that model and data have"),
    ] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(metavar="0..1", help="PQ: lowest score of an object.", show_default="the model's own"),
    ] = None,
    stuff_area: Annotated[
        int | None,
        typer.Option(metavar="N", help="PQ: smallest region of stuff, in pixels.", show_default="the model's own"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="The first N pictures.", min=1, show_default="all")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all figures to a file.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of --json if it is there.")
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            metavar=DEVICES, callback=check_device, help="Where to run; auto takes a GPU where one works."
        ),
    ] = "auto",
    inference_precision: InferencePrecision = None,
    precision: Precision = None,
) -> None:
    """Measure accuracy: mIoU (semantic), box and mask AP (instance), PQ (panoptic), VPQ and STQ (video)."""
    if (engine is None) == (predictions is None):
        raise UsageError("eval takes one of --engine FILE and --predictions DIR")
    for_networks = {
        "--against": against,
        "--mode": mode,
        "--score-threshold": score_threshold,
        "--stuff-area": stuff_area,
    }
    if predictions is not None and (idle := [name for name, value in for_networks.items() if value is not None]):
        raise UsageError(f"--predictions are finished maps, with no network to run: leave {', '.join(idle)} out")
    files = weight_files(weights, semantic_weights, instance_weights)
    if files and against != _TORCH:
        raise UsageError("weights are for --against torch; add it, or leave them out")
    from segopt_bench.requirements import need_evaluation_packages

    need_evaluation_packages("eval")
    from segopt.files.atomic import check_new, make_folder, write_json
    from segopt_bench.evaluation import evaluate_predictions, open_data

    if json is not None:
        check_new(json, overwrite=overwrite)
        make_folder(json.parent)
    opened = open_data(data)
    other = None
    title = "PyTorch" if against == _TORCH else str(against)
    if engine is None:
        assert predictions is not None
        with counting(predictions.name) as progress:
            own = evaluate_predictions(predictions, opened, limit=limit, progress=progress)
    else:
        own, other = _evaluate_engine(
            take(engine, device, precision),
            opened,
            {
                "device": device,
                "score_threshold": score_threshold,
                "stuff_area": stuff_area,
                "inference_precision": inference_precision,
            },
            against,
            files,
            {"modes": [mode.value] if mode else None, "limit": limit},
        )
    _show(own, other, title)
    if json is not None:
        document: dict[str, Any] = {"model": str(engine or predictions), "data": str(data), **own.to_json()}
        if other is not None:
            differences = [a.minus(b) for a, b in zip(own.scores, other.scores, strict=True)]
            document["against"] = {str(against): other.to_json()["scores"]}
            document["difference"] = {scores.measure: scores.to_json() for scores in differences}
        write_json(json, document, overwrite=overwrite)
        typer.echo(f"figures: {json}")


def _evaluate_engine(
    engine: Path,
    data: Data,
    loading: dict[str, Any],
    against: str | None,
    weights: dict[str, Path],
    options: dict[str, Any],
) -> tuple[Evaluation, Evaluation | None]:
    """The model's evaluation, and that of what it is compared with."""
    from segopt.segmenter import load
    from segopt_bench.evaluation import evaluate_engine

    with ExitStack() as opened:
        segmenter = opened.enter_context(load(engine, **loading))
        for note in segmenter.notes:
            typer.echo(f"note: {note}")
        # Before the long work: the other one may be missing.
        other = None if against is None else _other(against, segmenter, loading, weights, opened)
        with counting(engine.name) as progress:
            own = evaluate_engine(segmenter, data, progress=progress, **options)
        if other is None:
            return own, None
        with counting("PyTorch" if against == _TORCH else str(against)) as progress:
            compared = evaluate_engine(other, data, progress=progress, **options)
    if [scores.measure for scores in own.scores] != [scores.measure for scores in compared.scores]:
        raise UsageError(f"--against {against}: gives other views than {engine}; name one of both with --mode")
    return own, compared


def _other(
    against: str, segmenter: Segmenter, loading: dict[str, Any], weights: dict[str, Path], opened: ExitStack
) -> Segmenter:
    """What the model is compared with: its PyTorch network, or another model with the same thresholds."""
    from segopt.segmenter import load

    if against != _TORCH:
        same = {"score_threshold": segmenter.thresholds.score, "stuff_area": segmenter.thresholds.stuff_area}
        # It is what the model's precision is measured against.
        other = opened.enter_context(load(against, **{**loading, **same, "inference_precision": None}))
        if other.card.categories != segmenter.card.categories:
            raise UsageError(f"--against {against}: has other classes; their scores cannot be compared")
        return other
    from segopt_export.packages import need_export_packages

    need_export_packages()
    from segopt_bench.pytorch.network import torch_segmenter

    return torch_segmenter(segmenter.card, segmenter.thresholds, weights)


def _show(own: Evaluation, other: Evaluation | None, title: str) -> None:
    from rich.console import Console

    console = Console()
    for i, scores in enumerate(own.scores):
        console.print(_table(scores) if other is None else _comparison(scores, other.scores[i], title))
        for name, count in scores.counts.items():
            beside = "" if other is None else f", {title} {other.scores[i].counts.get(name)}"
            typer.echo(f"{name}: {count}{beside}\n")
    for remark in own.remarks:
        typer.echo(f"note: {remark}")


def _table(scores: Scores) -> Any:
    """Totals, then classes; in percent."""
    from rich.text import Text

    table = _empty_table(scores)
    for group in (scores.totals, *filter(None, [scores.classes])):
        names = list(dict.fromkeys(name for row in group.values() for name in row))
        if group is scores.totals:
            for name in names:
                table.add_column(name, justify="right")
        elif names != (first := list(next(iter(scores.totals.values())))):
            # A class has figures of its own kind: IoU and accuracy, where the totals have their means.
            table.add_row("class", *(names + [""] * len(first))[: len(first)], style="dim")
        for label, row in group.items():
            table.add_row(Text(label), *(_percent(row[name]) for name in names))
        table.add_section()
    return table


def _comparison(own: Scores, other: Scores, title: str) -> Any:
    """A row for each figure of the totals, and for the first figure of each class; in percent."""
    from rich.text import Text

    table = _empty_table(own)
    for column in ("figure", "engine", title, "difference"):
        table.add_column(Text(column), justify="left" if column == "figure" else "right")
    difference = own.minus(other)
    for group, most in (("totals", None), ("classes", 1)):
        for label, row in getattr(own, group).items():
            for name in list(row)[:most]:
                values = [getattr(scores, group)[label][name] for scores in (own, other)]
                apart = getattr(difference, group)[label][name]
                table.add_row(
                    Text(label), name, *map(_percent, values), "-" if apart is None else f"{100 * apart:+.2f}"
                )
        table.add_section()
    return table


def _empty_table(scores: Scores) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    title = Text(f"{scores.measure}: {scores.pictures} pictures, in percent")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("", style="cyan", no_wrap=True)
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
