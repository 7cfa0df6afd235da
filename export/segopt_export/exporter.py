"""Export, from a request to a checked file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
import torchvision
from torch import Tensor, nn

from segopt.card import Card, Category, Mode
from segopt.errors import ExportError
from segopt.version import __version__
from segopt_export.classes import categories_of, panoptic_categories
from segopt_export.graph import GraphBranch, Normalise, SegmentationGraph
from segopt_export.maskrcnn import DetectionLimits, StaticMaskRCNN, Target
from segopt_export.networks import DEMO_NETWORKS, Branch, Network, find_network
from segopt_export.onnx_file import add_card, trace, write
from segopt_export.parity import Figure, check_parity
from segopt_export.random_weights import random_picture
from segopt_export.semantic import StaticSemantic
from segopt_export.weights import Trained, WeightsRequest, load_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""RGB. All of torchvision's segmentation networks are trained with these."""

BRANCHES: dict[Mode, tuple[Branch, ...]] = {
    "semantic": ("semantic",),
    "instance": ("instance",),
    "panoptic": ("semantic", "instance"),
}
DEFAULT_NETWORKS: dict[Branch, str] = {
    "semantic": "deeplabv3_mobilenet_v3_large",
    "instance": "maskrcnn_resnet50_fpn",
}
DEFAULT_CANVAS: dict[Mode, tuple[int, int]] = {
    # Frames of 16:9 fill both: torchvision evaluates semantic networks at a short side of 520, detectors at 800
    # by at most 1333.
    "semantic": (512, 896),
    "instance": (800, 1344),
    "panoptic": (800, 1344),
}
DEMO_CANVAS = (256, 448)
STRIDE = 32
"""Sides of a canvas are multiples of this: the networks halve the picture five times."""
MAX_SIDE = 8192


@dataclass(frozen=True)
class ExportRequest:
    """What to export; what is None is chosen."""

    mode: Mode
    networks: Mapping[Branch, str] = field(default_factory=dict)
    weights: Mapping[Branch, WeightsRequest] = field(default_factory=dict)
    canvas: tuple[int, int] | None = None
    """Height and width in pixels."""
    batch: int = 1
    limits: DetectionLimits = field(default_factory=DetectionLimits)
    target: Target = "cpu"
    output: Path | None = None


@dataclass(frozen=True)
class Exported:
    """What was made."""

    path: Path
    card: Card
    figures: list[Figure]
    """Of the comparison between ONNX Runtime and PyTorch."""
    notes: list[str]
    """What a user should know of the choices made."""


Step = Callable[[str], AbstractContextManager[object]]
"""Called with a step's description; entered while the step runs."""


def export(request: ExportRequest, *, step: Step = lambda _: nullcontext()) -> Exported:
    """Export one or two networks to one ONNX file, checked against PyTorch.

    Raises:
        ExportError: the request cannot be met.
        SinkError: the file cannot be written.
    """
    branches = BRANCHES[request.mode]
    weights = {branch: request.weights.get(branch, WeightsRequest()) for branch in branches}
    all_demo = all(wanted.spec == "demo" for wanted in weights.values())
    canvas = request.canvas or (DEMO_CANVAS if all_demo else DEFAULT_CANVAS[request.mode])
    _check_numbers(canvas, request.batch, request.limits)
    networks = {branch: _network(request, branch, weights[branch]) for branch in branches}
    trained: dict[Branch, Trained] = {}
    for branch, network in networks.items():
        with step(f"weights of {network.name}: {weights[branch].spec}"):
            trained[branch] = load_weights(network, weights[branch])
    card, notes = make_card(request, canvas, trained)
    path = request.output or default_path(card)

    graph = build_graph(trained, canvas, request.limits, request.target)
    picture = example_image(request.batch, canvas)
    with step("graph: PyTorch to ONNX"):
        model = trace(graph, picture, graph.output_names)
        add_card(model, card)
    figures: list[Figure] = []
    with step("check: ONNX Runtime against PyTorch on a picture"):
        write(model, path, verify=lambda file: figures.extend(check_parity(graph, file, picture)))
    return Exported(path, card, figures, notes)


def _network(request: ExportRequest, branch: Branch, weights: WeightsRequest) -> Network:
    defaults = DEMO_NETWORKS if weights.spec == "demo" else DEFAULT_NETWORKS
    return find_network(request.networks.get(branch, defaults[branch]), branch)


def build_graph(
    trained: Mapping[Branch, Trained], canvas: tuple[int, int], limits: DetectionLimits, target: Target
) -> SegmentationGraph:
    """The static module of one or two networks behind one ``image``."""
    makers: dict[Branch, Callable[[nn.Module], GraphBranch]] = {
        "semantic": StaticSemantic,
        "instance": lambda model: StaticMaskRCNN(model, canvas, limits=limits, target=target),
    }
    branches = [makers[branch](network.model) for branch, network in trained.items()]
    return SegmentationGraph(Normalise(IMAGENET_MEAN, IMAGENET_STD), branches).eval()


def example_image(batch: int, canvas: tuple[int, int]) -> Tensor:
    """Seeded pictures with structure, uint8 BGR [B, H, W, 3]."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.stack([random_picture(canvas, generator=generator) for _ in range(batch)])
    return (pictures.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).contiguous()


def make_card(
    request: ExportRequest, canvas: tuple[int, int], trained: Mapping[Branch, Trained]
) -> tuple[Card, list[str]]:
    """The card of an export, and what to tell the user about its classes."""
    categories: dict[Mode, tuple[Category, ...]] = {
        branch: categories_of(network.classes, branch) for branch, network in trained.items()
    }
    notes = [
        f"{network.network.name} has RANDOM weights: for tests and latency, its answers mean nothing"
        for network in trained.values()
        if network.origin.is_random
    ]
    stuff: dict[int, int] = {}
    if request.mode == "panoptic":
        semantic = trained["semantic"]
        if not semantic.named:
            raise ExportError(
                f"{semantic.origin.name}: panoptic needs to know which semantic classes are stuff; "
                "name them with --semantic-classes FILE.json"
            )
        categories["panoptic"], stuff = panoptic_categories(
            semantic.classes, categories["instance"], semantic.origin.name
        )
        notes.append(_note_on_stuff(categories["panoptic"], stuff, semantic))
    card = Card(
        mode=request.mode,
        networks={branch: network.network.name for branch, network in trained.items()},
        canvas=canvas,
        batch=request.batch,
        precision="fp32",
        target=request.target,
        categories=categories,
        weights={branch: network.origin for branch, network in trained.items()},
        stuff_classes=stuff,
        max_detections=request.limits.max_detections if "instance" in trained else 0,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        versions={
            "segopt": __version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
            "onnx": onnx.__version__,
        },
    )
    return card, notes


def _note_on_stuff(categories: tuple[Category, ...], stuff: Mapping[int, int], semantic: Trained) -> str:
    if not stuff:
        return (
            f"{semantic.network.name} with {semantic.origin.name} weights knows no stuff (sky, road, ...): the "
            "panoptic map will hold things alone; give a semantic network that was trained on stuff"
        )
    names = [category.name for category in categories if category.id in stuff.values()]
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{len(names)} semantic classes are stuff: {shown}"


def default_path(card: Card) -> Path:
    """``engines/MODE-NETWORKS-PRECISION.onnx`` in the current folder."""
    parts = [card.mode, *card.networks.values()]
    if any(origin.is_random for origin in card.weights.values()):
        parts.append("random")
    return Path("engines") / ("-".join([*parts, card.precision]) + ".onnx")


def _check_numbers(canvas: tuple[int, int], batch: int, limits: DetectionLimits) -> None:
    for name, side in zip(("height", "width"), canvas, strict=True):
        if side % STRIDE or not STRIDE <= side <= MAX_SIDE:
            near = min(max(STRIDE, round(side / STRIDE) * STRIDE), MAX_SIDE)
            raise ExportError(f"{name} {side} is not a multiple of {STRIDE} up to {MAX_SIDE}; try {near}")
    if not 1 <= batch <= 64:
        raise ExportError(f"batch is {batch}, and must be from 1 to 64")
    if not 1 <= limits.max_detections <= limits.candidates:
        raise ExportError(f"max detections is {limits.max_detections}, and must be from 1 to {limits.candidates}")
    if not 1 <= limits.candidates <= 3840:
        raise ExportError(f"candidates is {limits.candidates}, and must be from 1 to 3840 (TensorRT's TopK)")
    if not 1 <= limits.suppression_steps <= 1000:
        raise ExportError(f"suppression steps is {limits.suppression_steps}, and must be from 1 to 1000")
