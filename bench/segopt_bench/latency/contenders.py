"""Who is timed against whom: engines, and the PyTorch networks that their cards name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segopt.device import parse_device
from segopt.errors import SegoptError, UsageError, first_line
from segopt.model.card import Card
from segopt.model.reading import read_card
from segopt.segmenter import Segmenter, load
from segopt.thresholds import Thresholds
from segopt_bench.latency.rounds import Contender

if TYPE_CHECKING:
    from torch import nn

    from segopt.backends.openvino_compile import InferencePrecision
    from segopt.stages import Stages

EAGER = "PyTorch eager"
INSTANCE_SCORE = 0.05
"""Score threshold of instance views: torchvision's own default, so that both sides paste the same objects."""


@dataclass(frozen=True)
class Missing:
    """Somebody who could not take part."""

    name: str
    reason: str


@dataclass(frozen=True)
class EagerOptions:
    """How the PyTorch side is to run."""

    files: Mapping[str, Path] = field(default_factory=dict)
    """Weights file of each branch whose weights came from a file."""
    compiled: bool = False
    """Time ``torch.compile`` of it, too."""


@dataclass(frozen=True)
class Group:
    """Engines that do the same job: the same networks and weights, on the same canvas."""

    engines: tuple[Path, ...]
    cards: tuple[Card, ...]
    """Theirs."""

    @property
    def card(self) -> Card:
        """Of the first of them."""
        return self.cards[0]

    @property
    def title(self) -> str:
        """What the job is."""
        height, width = self.card.canvas
        batch = f", batch {self.card.batch}" if self.card.batch > 1 else ""
        return f"{self.card.mode}: {' + '.join(self.card.networks.values())}, canvas {height}x{width}{batch}"

    @property
    def notes(self) -> list[str]:
        """What a reader of its figures must know."""
        notes = [
            f"{self.card.networks.get(branch, branch)} has RANDOM weights: its answers mean nothing"
            for branch, origin in self.card.weights.items()
            if origin.is_random
        ]
        if self.card.merge == "queries":
            notes.append("PyTorch's side is segopt's own module, with PyTorch's attention and masks on planes")
        elif "panoptic" in self.card.networks:
            notes.append("PyTorch's side is segopt's own training module: torchvision has no Panoptic FPN")
        if self.card.mode == "instance":
            notes.append(
                f"everybody gives the objects with a score from {INSTANCE_SCORE} on, torchvision's default"
            )
        return notes


def group_engines(engines: Sequence[Path]) -> list[Group]:
    """Put engines of the same job together, in the order given.

    Raises:
        CardError: a file is missing, broken, or has no card.
        UsageError: a file is named twice.
    """
    groups: dict[object, list[tuple[Path, Card]]] = {}
    for path in engines:
        if engines.count(path) > 1:
            raise UsageError(f"{path}: is named twice; name each engine once")
        card = read_card(path)
        weights = tuple((branch, origin.sha256) for branch, origin in sorted(card.weights.items()))
        job = (card.mode, tuple(card.networks.items()), weights, card.canvas, card.batch, card.max_detections)
        groups.setdefault(job, []).append((path, card))
    return [Group(*zip(*members, strict=True)) for members in groups.values()]


def check_inference_precision(cards: Sequence[Card], asked: InferencePrecision | None) -> None:
    """Refuse bf16 for engines of which none can be run in it.

    Raises:
        UsageError: bf16, and none of these was exported in FP16.
    """
    if asked == "bf16" and not any(inference_precision_of(card, asked) for card in cards):
        raise UsageError(
            "--inference-precision bf16: no model here has half precision in it, which says what may be in bf16; "
            "add one of `segopt export --precision fp16`, or leave the option out"
        )


def inference_precision_of(card: Card, asked: InferencePrecision | None) -> InferencePrecision | None:
    """What is asked of several engines, for one of them: bf16 is for those that were exported in FP16."""
    return None if asked == "bf16" and card.precision != "fp16" else asked


def load_engine(
    path: Path, card: Card, device: str, inference_precision: InferencePrecision | None = None
) -> Segmenter:
    """Load an engine to be timed, in bf16 where its card allows for it; errors as of :func:`segopt.load`."""
    score = INSTANCE_SCORE if card.mode == "instance" else None
    return load(path, device, score, inference_precision=inference_precision_of(card, inference_precision))


def engine_contenders(loaded: Sequence[tuple[Path, Segmenter]]) -> list[Contender]:
    """The engines as contenders; those of one runtime and precision are told apart by their files' names."""
    names = [f"{segmenter.backend.name}, {segmenter.card.precision}" for _, segmenter in loaded]
    return [
        Contender(
            name if names.count(name) == 1 else f"{name}, {path}", segmenter.card.precision, segmenter, str(path)
        )
        for name, (path, segmenter) in zip(names, loaded, strict=True)
    ]


def eager_contenders(
    card: Card, thresholds: Thresholds, device: str, options: EagerOptions
) -> tuple[list[Contender], list[Missing]]:
    """The PyTorch side of a group, and what of it there is not."""
    absent = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
    if absent:
        reason = f"{' and '.join(absent)} not installed: pip install 'segopt[bench]'"
        return [], [Missing(EAGER, reason)]
    import torch

    from segopt_bench.pytorch.making import eager_segmenter
    from segopt_bench.pytorch.network import load_trained

    where = parse_device(device)
    on_gpu = where.on_nvidia and torch.cuda.is_available()
    place = f"cuda:{where.number}" if on_gpu else "cpu"
    title = torch.cuda.get_device_name(where.number) if on_gpu else "CPU"
    version = str(torch.__version__).partition("+")[0]

    def contender(how: str, precision: str, *, half: bool = False, compiled: bool = False) -> Contender:
        networks: dict[str, nn.Module] = {
            branch: trained.model for branch, trained in load_trained(card, options.files).items()
        }
        segmenter = eager_segmenter(card, thresholds, networks, device=place, half=half, compiled=compiled)
        return Contender(f"PyTorch {version} {how} ({title}), {precision}", precision, segmenter)

    kinds: list[tuple[str, Callable[[], Contender]]] = [(EAGER, lambda: contender("eager", "fp32"))]
    missing: list[Missing] = []
    if on_gpu:
        kinds.append((f"{EAGER}, fp16", lambda: contender("eager", "fp16 autocast", half=True)))
    else:
        missing.append(Missing(f"{EAGER}, fp16", "PyTorch's half precision is for a GPU"))
    if options.compiled:
        kinds.append(("torch.compile", lambda: contender("compiled", "fp32", compiled=True)))
    found: list[Contender] = []
    for name, make in kinds:
        try:
            made = make()
            _try(made.segmenter, card)
        except SegoptError as error:
            # What keeps one of them out keeps out all.
            return [], [Missing(EAGER, str(error))]
        except Exception as error:  # Of a compiler that is not there, a GPU that is too small, ...
            missing.append(Missing(name, f"it fails: {first_line(error)}"))
        else:
            found.append(made)
    return found, missing


def _try(segmenter: Stages, card: Card) -> None:
    """Run once on gray: compiling and allocating fail here, or not at all."""
    segmenter.infer(segmenter.prepare([np.full((*card.canvas, 3), 128, dtype=np.uint8)]))
