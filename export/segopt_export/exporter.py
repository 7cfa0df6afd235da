"""Export, from a request to a checked file."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import onnx
import torch
import torchvision
from torch import Tensor

from segopt.card import Card, Category, Mode, PasteRule
from segopt.errors import ExportError
from segopt.version import __version__
from segopt_export.calibration import Pictures
from segopt_export.classes import ClassEntry, categories_of, label_ids, panoptic_categories
from segopt_export.detector_rules import TORCHVISION, rules_of
from segopt_export.graph import GraphBranch, Normalise, SegmentationGraph
from segopt_export.graph_checks import check_static, half_share
from segopt_export.int8 import quantise
from segopt_export.maskrcnn import DetectionLimits, StaticMaskRCNN, Target
from segopt_export.networks import DEMO_NETWORKS, Branch, Network, find_network
from segopt_export.onnx_file import add_card, trace, write
from segopt_export.parity import ANYTHING, Figure, check_parity
from segopt_export.precision import (
    BOUNDS,
    Fitted,
    Precision,
    count_of,
    fit_to_half,
    note_on_quantised,
    pictures_for_int8,
)
from segopt_export.random_weights import random_picture
from segopt_export.semantic import StaticSemantic
from segopt_export.static_panoptic_fpn import StaticPanopticFPN
from segopt_export.weights import Trained, WeightsRequest, load_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""RGB. All of torchvision's segmentation networks are trained with these."""

BRANCHES: dict[Mode, tuple[Branch, ...]] = {
    "semantic": ("semantic",),
    "instance": ("instance",),
    "panoptic": ("semantic", "instance"),
}
"""A panoptic export is of two networks, or of one that names the branch ``panoptic``."""
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
CHECKED = 8
"""On so many pictures an INT8 file is held against PyTorch; the others on one for each frame of a batch."""
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
    precision: Precision = "fp32"
    calibration: Pictures | None = None
    """Half precision and INT8: the pictures that layers' values are looked at on. Half precision and random
    weights can do with a made-up one."""
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
    branches = branches_of(request.mode, {*request.networks, *request.weights})
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
    fitted = Fitted(graph, example_image(request.batch, canvas))
    bounds, random = BOUNDS[request.precision], any(network.origin.is_random for network in trained.values())
    if request.precision == "fp16":
        with step("half precision: the values of every layer"):
            fitted = fit_to_half(graph, fitted.example, calibration=request.calibration, mean=card.mean)
    elif request.precision == "int8":
        fitted = pictures_for_int8(
            graph, fitted.example, calibration=request.calibration, mean=card.mean, random=random
        )
        bounds = ANYTHING if random else bounds
    with step("graph: PyTorch to ONNX"):
        model = trace(fitted.graph, fitted.example, graph.output_names)
        check_static(model)
        card = replace(card, half_share=half_share(model), float_layers=fitted.float_layers)
    notes += fitted.notes
    if request.precision == "int8":
        with step("INT8: scales of every layer, and the noise that they make"):
            quantised = quantise(model, [picture.numpy() for picture in fitted.pictures], request.target)
        model, card = quantised.model, replace(card, float_layers=tuple(quantised.float_layers))
        notes.append(note_on_quantised(quantised))
    add_card(model, card)
    figures: list[Figure] = []
    pictures = torch.cat(fitted.pictures[:CHECKED] or [fitted.example])

    def check(file: Path) -> None:
        figures.extend(check_parity(graph, file, pictures, bounds))

    with step(f"check: ONNX Runtime against PyTorch on {count_of(pictures)}"):
        write(model, path, verify=check)
    return Exported(path, card, figures, notes)


def branches_of(mode: Mode, named: Container[str]) -> tuple[Branch, ...]:
    """The branches of an export; of a panoptic one, those of a fusion unless ``panoptic`` is named."""
    return ("panoptic",) if mode == "panoptic" and "panoptic" in named else BRANCHES[mode]


def _network(request: ExportRequest, branch: Branch, weights: WeightsRequest) -> Network:
    defaults = DEMO_NETWORKS if weights.spec == "demo" else DEFAULT_NETWORKS
    return find_network(request.networks.get(branch) or defaults[branch], branch)


def build_graph(
    trained: Mapping[Branch, Trained], canvas: tuple[int, int], limits: DetectionLimits, target: Target
) -> SegmentationGraph:
    """The static module of one or two networks behind one ``image``."""
    makers: dict[Branch, Callable[..., GraphBranch]] = {
        "semantic": lambda model, label_ids: StaticSemantic(model),  # noqa: ARG005
        "instance": partial(StaticMaskRCNN, canvas=canvas, limits=limits, target=target),
        "panoptic": partial(StaticPanopticFPN, canvas=canvas, limits=limits, target=target),
    }
    branches = [
        makers[branch](network.model, label_ids=label_ids(network.classes)) for branch, network in trained.items()
    ]
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
    classes: dict[Branch, list[ClassEntry]] = {branch: network.classes for branch, network in trained.items()}
    semantic = trained.get("semantic")
    if (whole := trained.get("panoptic")) is not None:
        semantic = whole
        classes = {"semantic": whole.semantic_classes, "instance": whole.classes}
    categories: dict[Mode, tuple[Category, ...]] = {
        branch: categories_of(entries, branch) for branch, entries in classes.items()
    }
    notes = [
        f"{network.network.name} has RANDOM weights: for tests and latency, its answers mean nothing"
        for network in trained.values()
        if network.origin.is_random
    ]
    zoo_files = {network.origin.name: network.network.zoo_file for network in trained.values()}
    notes += [zoo_file.note for name, zoo_file in zoo_files.items() if zoo_file and zoo_file.name == name]
    stuff: dict[int, int] = {}
    if request.mode == "panoptic":
        assert semantic is not None
        if not semantic.named:
            option = "--semantic-classes" if whole is None else "--classes"
            raise ExportError(
                f"{semantic.origin.name}: panoptic needs to know which semantic classes are stuff; "
                f"name them with {option} FILE.json"
            )
        categories["panoptic"], stuff = panoptic_categories(
            classes["semantic"], categories["instance"], semantic.origin.name
        )
        notes.append(_note_on_stuff(categories["panoptic"], stuff, semantic))
    card = Card(
        mode=request.mode,
        networks={branch: network.network.name for branch, network in trained.items()},
        canvas=canvas,
        batch=request.batch,
        precision=request.precision,
        target=request.target,
        categories=categories,
        weights={branch: network.origin for branch, network in trained.items()},
        stuff_classes=stuff,
        max_detections=request.limits.max_detections if "instance" in classes else 0,
        mask_paste=_mask_paste(trained),
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


def _mask_paste(trained: Mapping[Branch, Trained]) -> PasteRule:
    """The rule of the network that gives the masks."""
    detector = trained.get("panoptic") or trained.get("instance")
    return TORCHVISION.mask_paste if detector is None else rules_of(detector.model).mask_paste


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
