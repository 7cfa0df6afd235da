"""``segopt info``: what a model file says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segopt.cli.build import describe_plan
from segopt.cli.engines import Precision
from segopt.errors import UsageError
from segopt.model.tensors import input_specs, meaning, output_specs

if TYPE_CHECKING:
    from segopt.model.card import Card
    from segopt.model.categories import Category
    from segopt.model_folder import Candidate

_MAX_NAMES = 12
_MAX_LAYERS = 20
_MAX_OPERATORS = 4


def info(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE|DIR", help="An .onnx or .plan file, or a model folder.", show_default=False),
    ],
    cost: Annotated[
        bool,
        typer.Option("--cost", help="Show what the network costs: operations, memory traffic, floors in time."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the card's JSON in place of a table.")] = False,
    precision: Precision = None,
) -> None:
    """Show what a model file says of itself: networks, weights, canvas, classes, thresholds, versions.

    Of a model folder: which of its files this machine takes, and why not the others.
    """
    if file.is_dir():
        from segopt.model_folder import read_folder

        candidates = read_folder(file)
        if json or cost:
            raise UsageError(f"{'--json' if json else '--cost'} is for one file; give one of the folder's")
        _show_folder(file, candidates, precision)
        return
    from segopt.model import sidecar
    from segopt.model.reading import read_card

    if cost:
        _show_cost(file)
        return
    beside = sidecar.read(file) if file.suffix == ".plan" else None
    card = beside.card if beside else read_card(file)
    if json:
        typer.echo((beside or card).to_json())
        return

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False, title=Text(str(file)), title_justify="left")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [*describe(card, file.stat().st_size), *(describe_plan(beside.plan) if beside else ())]
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    Console().print(table)


def _show_folder(folder: Path, candidates: Sequence[Candidate], precision: str | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from segopt.device import Device
    from segopt.model_folder import default_precision, judge

    wanted = precision or default_precision(folder, candidates)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=Text(f"{folder} in {wanted}"), title_justify="left")
    for column in ("file", "here", "why"):
        table.add_column(column, overflow="fold", no_wrap=column == "here")
    taken = "taken"
    for each in judge(candidates, wanted, Device("auto")):
        table.add_row(Text(each.candidate.path.name), taken if each.fits else "no", Text(each.reason))
        taken = "fits" if each.fits else taken
    Console().print(table)


def _show_cost(file: Path) -> None:
    """The costliest layers of an .onnx file, all of it, and how long it lasts at least on some devices."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from segopt.model.reading import read_card
    from segopt_export.packages import need_export_packages

    if file.suffix == ".plan":
        raise UsageError(f"{file}: --cost counts on the graph; give the ONNX file that the plan was built from")
    read_card(file)
    need_export_packages()
    import onnx

    from segopt_export.onnx_file.cost import DEVICES, floor, layer_costs

    layers = layer_costs(onnx.load(file))
    first = DEVICES[0]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"{file}: {len(layers)} layers", title_justify="left")
    for heading in ("layer", "operators"):
        table.add_column(heading, overflow="fold")
    for heading in ("GFLOP", "MB", f"ms on {first.name}"):
        table.add_column(heading, justify="right")
    for layer in sorted(layers, key=lambda layer: -layer.floor(first))[:_MAX_LAYERS]:
        more = len(layer.operators) - _MAX_OPERATORS
        operators = " ".join(layer.operators[:_MAX_OPERATORS]) + (f" and {more} more" if more > 0 else "")
        numbers = (layer.operations / 1e9, layer.bytes_moved / 1e6, 1e3 * layer.floor(first))
        table.add_row(layer.name, operators, *(f"{number:.2f}" for number in numbers))
    table.add_section()
    totals = (sum(each.operations for each in layers) / 1e9, sum(each.bytes_moved for each in layers) / 1e6)
    table.add_row("all", "", *(f"{number:.2f}" for number in (*totals, 1e3 * floor(layers, first))))
    console = Console()
    console.print(table)
    floors = ", ".join(f"{device.name} {1e3 * floor(layers, device):.2f} ms" for device in DEVICES)
    console.print(f"at least: {floors}", soft_wrap=True)


def describe(card: Card, size: int) -> Iterator[tuple[str, str]]:
    """Rows of the table: name and text.

    Args:
        card: of the file.
        size: of the file, in bytes.
    """
    views = [view for view in card.views if view != card.mode]
    yield "mode", card.mode + (f" (also as {', '.join(views)})" if views else "")
    for branch, network in card.networks.items():
        yield f"{branch} network", network
        if (origin := card.weights.get(branch)) is not None:
            yield f"{branch} weights", f"{origin.name} (sha256 {origin.sha256[:12]})"
    height, width = card.canvas
    yield "canvas", f"{width} wide, {height} high"
    yield "batch", str(card.batch)
    if card.resize != "letterbox":
        yield "frames", "stretched to the canvas"
    elif card.padding is not None and card.merge == "boxes":
        yield "padding", "red {}, green {}, blue {}".format(*card.padding_color)
    yield "precision", f"{card.precision}, made fast for {card.target}"
    if card.half_share:
        yield "half precision", _half(card)
    if card.int8 is not None:
        yield "INT8", str(card.int8)
    yield "file size", _size(size)
    for kind, specs in (("input", input_specs(card)), ("output", output_specs(card))):
        for name, spec in specs.items():
            yield kind, f"{name}: {spec}, {meaning(name, card)}"
    for view, categories in card.categories.items():
        yield f"{view} classes", _classes(categories)
    if card.merge == "queries":
        yield from _describe_queries(card)
    elif card.mode == "panoptic":
        yield "stuff", f"from the semantic map, {len(set(card.stuff_classes.values()))} of the classes"
    if card.mode != "semantic" and card.merge == "boxes":
        yield "detections", f"at most {card.max_detections}, {_PASTES[card.mask_paste]}"
        yield "score threshold", f"{card.score_threshold:g}"
    if card.mode == "panoptic" and card.merge == "boxes":
        yield "overlap threshold", f"{card.overlap_threshold:g}"
        yield "stuff area", f"{card.stuff_area} pixels at least"
    yield "made with", ", ".join(f"{name} {version}" for name, version in card.versions.items()) or "unknown"


_PASTES = {
    "torchvision": "masks laid as torchvision does",
    "detectron2": "masks laid as detectron2 does",
    "canvas": "masks over the whole canvas",
    "canvas-box": "masks over the whole canvas, cut at their boxes",
}


def _describe_queries(card: Card) -> Iterator[tuple[str, str]]:
    stuff = sum(not category.is_thing for category in card.categories["panoptic"])
    yield "merge", f"of queries, in the graph; {stuff} of the classes are stuff"
    yield "queries", f"at most {card.max_detections} kept, of a probability above {card.query_score:g}"
    yield "mask share", f"above {card.mask_share:g}: what a query owns of its mask"
    yield "padding", "red {}, green {}, blue {}".format(*card.padding_color)


def _half(card: Card) -> str:
    kept = f"; kept in FP32: {', '.join(card.float_layers)}" if card.float_layers else ""
    return f"{card.half_share:.1%} of convolutions and fully connected layers{kept}"


def _classes(categories: Sequence[Category]) -> str:
    things = sum(category.is_thing for category in categories)
    names = [category.name for category in categories]
    if len(names) > _MAX_NAMES:
        names = [*names[: _MAX_NAMES - 1], f"and {len(names) - _MAX_NAMES + 1} more"]
    return f"{len(categories)} ({things} things, {len(categories) - things} stuff): {', '.join(names)}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
