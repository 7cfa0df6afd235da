"""The command line of the training of EoMT, and the settings that it makes."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from segopt_export.networks.eomt import EomtShape
from segopt_export.networks.table import QUERY_NETWORKS

SCRATCH = "none"
_LARGEST = 4096


@dataclass(frozen=True)
class Settings:
    """What makes one training differ from another; kept in its checkpoint."""

    steps: int
    batch: int
    """Pictures a step."""
    rate: float
    """Of learning: of the heads and of the last layer."""
    layer_decay: float
    """The rate of each layer in that of the one above it."""
    warmup: tuple[int, int, int]
    """As of :class:`segopt_bench.training.query_schedules.Warmup`, before it is shortened."""
    canvas: tuple[int, int]
    scales: tuple[float, float]
    points: int
    """Of a mask, at which losses look at it."""
    anneal: bool
    """Whether queries lose their masks over the training."""
    seed: int


OWN_SIZES: dict[str, tuple[str, int, int]] = {
    "hidden": ("channels of a token", 8, 8192),
    "layers": ("of the transformer", 1, 256),
    "heads": ("of its attention", 1, 256),
    "blocks": ("layers, the last ones, that see the queries", 1, 256),
    "queries": ("segments that a picture can have", 1, 3840),
    "patch": ("side of a patch in pixels: 4, 8, 16 or 32", 4, 32),
    "upscale_blocks": ("each doubles the masks' sides in patches", 1, 6),
}
"""Sizes of a network that begins with nothing: help, smallest and largest."""
_USUAL = {
    "steps": 90_000,
    "batch": 16,
    "rate": 1e-4,
    "points": 12544,
    "scales": (0.1, 2.0),
    "seed": 0,
}


class _OneLine(argparse.ArgumentParser):
    """Says what is wrong without the usage, which has thirty lines."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def parse(arguments: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """The command line. What was not said is None, where a checkpoint says it on --resume."""
    parser = _OneLine(
        prog="train_eomt", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with COCO panoptic ground truth")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the weights")
    begin = parser.add_mutually_exclusive_group(required=True)
    begin.add_argument(
        "--start", metavar="WEIGHTS", help=f"folder or hub id of an EoMT, or {SCRATCH}: from nothing"
    )
    begin.add_argument("--resume", action="store_true", help="go on from the checkpoint in --output")
    parser.add_argument("--size", type=_size, dest="canvas", metavar="HxW", help="canvas; the start's, or 640x640")
    parser.add_argument("--steps", type=_whole(1, 10**9), help="90000")
    parser.add_argument("--batch", type=_whole(1, 4096), help="pictures a step: 16")
    parser.add_argument("--rate", type=_number(0, 1), help="of learning: 1e-4")
    parser.add_argument(
        "--layer-decay", type=_number(0, 1), help="rate of a layer in that of the one above: 0.8, from nothing 1"
    )
    parser.add_argument(
        "--scales",
        type=_number(0.01, 100),
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="of pictures, of which one is drawn; 1 fits the canvas: 0.1 2",
    )
    parser.add_argument("--points", type=_whole(16, 10**6), help="of a mask, at which losses look: 12544")
    parser.add_argument(
        "--keep-masks", action="store_true", default=None, help="do not anneal the masks of attention away"
    )
    parser.add_argument("--seed", type=_whole(0, 2**31), help="0")
    for name, (text, low, high) in OWN_SIZES.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=_whole(low, high), help=f"with --start {SCRATCH}: {text}")
    parser.add_argument("--save-every", type=_whole(1, 10**9), default=1000, metavar="STEPS", help="1000")
    parser.add_argument("--workers", type=_whole(0, 256), default=2, help="processes that load pictures: 2")
    usual_device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument(
        "--device", type=_device, default=usual_device, help=f"as PyTorch names it: {usual_device}"
    )
    options = parser.parse_args(arguments)
    if options.scales is not None and options.scales[0] > options.scales[1]:
        parser.error("argument --scales: the first is the smaller one, such as 0.1 2")
    said = [name for name in ("canvas", "layer_decay", "keep_masks", *_USUAL) if _said(options, name)]
    sizes = [name for name in OWN_SIZES if _said(options, name)]
    if options.resume and (said or sizes):
        parser.error(f"{_option((said + sizes)[0])}: --resume goes on with the settings of its checkpoint")
    if options.start not in (None, SCRATCH) and sizes:
        parser.error(f"{_option(sizes[0])}: the sizes are those of --start {options.start}")
    return options


def settings_of(options: argparse.Namespace, canvas: tuple[int, int]) -> Settings:
    """The settings of a training that begins, on this canvas."""
    scratch = options.start == SCRATCH
    usual = {name: _or(getattr(options, name), value) for name, value in _USUAL.items()}
    usual["scales"] = tuple(usual["scales"])
    return Settings(
        **usual,
        layer_decay=_or(options.layer_decay, 1.0 if scratch else 0.8),
        # The encoder of a network that knows nothing has no reason to wait.
        warmup=(500, 500, 0) if scratch else (500, 1000, 500),
        canvas=canvas,
        anneal=not options.keep_masks,
    )


def shape_of(options: argparse.Namespace, classes: int, side: int) -> EomtShape:
    """The sizes of a network that begins with nothing: EoMT-S's, where the command line says nothing else."""
    usual = QUERY_NETWORKS["eomt_small"].queries
    assert usual is not None
    sizes = {name: _or(getattr(options, name), getattr(usual, name)) for name in OWN_SIZES}
    return EomtShape(classes=classes, side=side, **sizes)


def shape_problem(shape: EomtShape) -> str | None:
    """What is wrong with sizes, and what to do; None where nothing is."""
    if shape.hidden % shape.heads:
        return f"--hidden {shape.hidden} is no multiple of --heads {shape.heads}; give another of them"
    if 32 % shape.patch:
        return f"--patch {shape.patch}: give 4, 8, 16 or 32"
    if shape.blocks > shape.layers:
        return f"--blocks {shape.blocks} of --layers {shape.layers}: at most all layers see the queries"
    return None


def _said(options: argparse.Namespace, name: str) -> bool:
    return getattr(options, name) is not None


def _or(value: Any, usual: Any) -> Any:
    return usual if value is None else value


def _option(name: str) -> str:
    return "--size" if name == "canvas" else f"--{name.replace('_', '-')}"


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse_whole(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return parse_whole


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse_number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low < value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no number above {low}, at most {high}")
        return value

    return parse_number


def _device(text: str) -> str:
    try:
        torch.zeros(1, device=text)
    except (RuntimeError, AssertionError):
        raise argparse.ArgumentTypeError(f"PyTorch has no {text!r} here; give cpu") from None
    return text


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    height, width = (int(side) for side in match.groups()) if match else (0, 0)
    if not all(32 <= side <= _LARGEST and side % 32 == 0 for side in (height, width)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no canvas; give height x width in multiples of 32 up to {_LARGEST}, such as 640x640"
        )
    return height, width
