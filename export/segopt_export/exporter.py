"""Export, from a request to a checked file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from segopt.model.card import Card
from segopt_export.card import make_card
from segopt_export.networks.table import DEMO_NETWORKS, Branch, Network, find_network
from segopt_export.onnx_file.checks import check_static, half_share
from segopt_export.onnx_file.output import check_output
from segopt_export.onnx_file.parity import ANYTHING, Figure, check_parity
from segopt_export.onnx_file.tracing import add_card, trace, write
from segopt_export.precision.fitting import (
    BOUNDS,
    Fitted,
    fit_to_half,
    note_on_quantized,
    pictures_for_int8,
)
from segopt_export.precision.int8 import quantize
from segopt_export.request import (
    DEFAULT_CANVAS,
    DEFAULT_NETWORKS,
    DEMO_CANVAS,
    ExportRequest,
    branches_of,
    check_numbers,
)
from segopt_export.static.build import build_graph
from segopt_export.weights.loading import Trained, WeightsRequest, load_weights
from segopt_export.weights.random import random_picture

CHECKED = 8
"""On so many pictures an INT8 file is held against PyTorch; the others on one for each frame of a batch."""


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
    check_numbers(canvas, request.batch, request.limits)
    if request.output is not None:
        check_output(request.output)
    networks = {branch: _network(request, branch, weights[branch]) for branch in branches}
    trained: dict[Branch, Trained] = {}
    for branch, network in networks.items():
        with step(f"weights of {network.name}: {weights[branch].spec}"):
            trained[branch] = load_weights(network, weights[branch])
    card, notes = make_card(request, canvas, trained)
    path = request.output or default_path(card)
    check_output(path)

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
            quantized = quantize(model, [picture.numpy() for picture in fitted.pictures], request.target)
        model, card = quantized.model, replace(card, float_layers=tuple(quantized.float_layers))
        notes.append(note_on_quantized(quantized))
    add_card(model, card)
    figures: list[Figure] = []
    pictures = torch.cat(fitted.pictures[:CHECKED] or [fitted.example])

    def check(file: Path) -> None:
        figures.extend(check_parity(graph, file, pictures, bounds))

    images = "1 image" if len(pictures) == 1 else f"{len(pictures)} images"
    with step(f"check: ONNX Runtime against PyTorch on {images}"):
        write(model, path, verify=check)
    return Exported(path, card, figures, notes)


def _network(request: ExportRequest, branch: Branch, weights: WeightsRequest) -> Network:
    defaults = DEMO_NETWORKS if weights.spec == "demo" else DEFAULT_NETWORKS
    return find_network(request.networks.get(branch) or defaults[branch], branch)


def example_image(batch: int, canvas: tuple[int, int]) -> Tensor:
    """Seeded synthetic images with structure, uint8 BGR [B, H, W, 3]."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.stack([random_picture(canvas, generator=generator) for _ in range(batch)])
    return (pictures.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).contiguous()


def default_path(card: Card) -> Path:
    """``engines/MODE-NETWORKS-PRECISION.onnx`` in the current folder."""
    parts = [card.mode, *card.networks.values()]
    if any(origin.is_random for origin in card.weights.values()):
        parts.append("random")
    return Path("engines") / ("-".join([*parts, card.precision]) + ".onnx")
