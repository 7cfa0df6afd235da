"""Export, from a request to a checked file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segopt.agreement import Figure, bounds_for
from segopt.model.card import Card
from segopt_export.card import make_card
from segopt_export.exported import Exported, Step, no_step
from segopt_export.networks.eomt import EoMT
from segopt_export.networks.live import import_module_of, is_import_path, live_network
from segopt_export.networks.settings import is_detector
from segopt_export.networks.settings_file import read_query_settings, read_settings
from segopt_export.networks.table import DEMO_NETWORKS, QUERY_NETWORKS, Branch, Network, find_network
from segopt_export.onnx_file.checks import check_static, half_share
from segopt_export.onnx_file.mask_blocks import with_masks_in_blocks
from segopt_export.onnx_file.output import check_output
from segopt_export.onnx_file.own_forward import check_own_forward
from segopt_export.onnx_file.parity import check_parity
from segopt_export.onnx_file.tensorrt_rules import target_notes
from segopt_export.onnx_file.tracing import trace
from segopt_export.onnx_file.writing import add_card, write
from segopt_export.precision.fitting import (
    Fitted,
    fit_to_half,
    pictures_for_int8,
    rest_in_half,
)
from segopt_export.precision.int8 import quantize
from segopt_export.precision.notes import notes_on_quantized
from segopt_export.request import (
    DEFAULT_CANVAS,
    DEFAULT_NETWORKS,
    DEMO_CANVAS,
    ExportRequest,
    branches_of,
    canvas_for,
    check_numbers,
    check_proposals,
    check_queries,
    whole_strides,
)
from segopt_export.static.build import build_graph
from segopt_export.static.limits import DetectionLimits
from segopt_export.weights.live import load_any
from segopt_export.weights.loading import Trained, WeightsRequest
from segopt_export.weights.random import random_picture

CHECKED = 8
"""On so many pictures an INT8 file is held against PyTorch; the others on one for each frame of a batch."""


def export(request: ExportRequest, *, step: Step = no_step) -> Exported:
    """Export one or two networks to one ONNX file, checked against PyTorch.

    Raises:
        ExportError: the request cannot be met.
        SinkError: the file cannot be written.
    """
    branches = branches_of(request.mode, {*request.networks, *request.weights, *request.modules})
    weights = {branch: request.weights.get(branch, WeightsRequest()) for branch in branches}
    if request.output is not None:
        check_output(request.output)
    networks = {branch: _network(request, branch, weights[branch]) for branch in branches}
    check_queries(request, networks)
    weights = {branch: _with_eps(wanted, networks[branch]) for branch, wanted in weights.items()}
    all_demo = all(wanted.spec == "demo" for wanted in weights.values())
    default_canvas = DEMO_CANVAS if all_demo else DEFAULT_CANVAS[request.mode]
    canvas = request.canvas or canvas_for(networks) or default_canvas
    check_numbers(canvas, request.batch, request.limits, request.proposals)
    trained: dict[Branch, Trained] = {}
    for branch, network in networks.items():
        with step(f"weights of {network.name}: {weights[branch].spec}"):
            trained[branch] = load_any(network, weights[branch], canvas)
            check_proposals(trained[branch].model, network.name, request.target)
    canvas = request.canvas or _trained_canvas(trained) or canvas
    limits = with_detections(request.limits, trained)
    check_numbers(canvas, request.batch, limits, request.proposals)
    card, notes = make_card(replace(request, weights=weights, limits=limits), canvas, trained)
    path = request.output or default_path(card)
    check_output(path)

    graph = build_graph(trained, canvas, limits, request.target)
    if any(network.module is not None for network in networks.values()):
        with step("check: the static graph against the network's own forward"):
            own_figures = check_own_forward(graph, trained, example_image(1, canvas))
    else:
        own_figures = []
    padding = [level / 255 for level in card.padding_color]
    fitted = Fitted(graph, example_image(request.batch, canvas))
    random = any(network.origin.is_random for network in trained.values())
    bounds = bounds_for(request.precision, random=random)
    if request.precision == "fp16":
        with step("half precision: the values of every layer"):
            fitted = fit_to_half(graph, fitted.example, calibration=request.calibration, mean=padding)
    elif request.precision == "int8":
        fitted = pictures_for_int8(
            graph, fitted.example, calibration=request.calibration, mean=padding, random=random
        )
        if request.target == "tensorrt":
            with step("half precision, for what does not become INT8: the values of every layer"):
                fitted = rest_in_half(fitted)
    with step("graph: PyTorch to ONNX"):
        model = trace(fitted.graph, fitted.example, graph.output_names)
        check_static(model)
        card = replace(card, half_share=half_share(model), float_layers=fitted.float_layers)
    notes += fitted.notes
    if request.precision == "int8":
        cost = "the noise that they make" if request.int8_loss is None else "what the answer loses by each"
        with step(f"INT8: scales of every layer, and {cost}"):
            images = [picture.numpy() for picture in fitted.pictures]
            quantized = quantize(model, images, request.target, max_loss=request.int8_loss)
        model = quantized.model
        card = replace(card, float_layers=tuple(quantized.float_layers), int8=quantized.choice)
        notes += notes_on_quantized(quantized, "FP16" if card.half_share else "FP32")
    notes += target_notes(request.target, model)
    if request.target == "cpu" and card.merge == "boxes" and card.mode != "semantic":
        model, note = with_masks_in_blocks(model, limits)
        notes += note
    add_card(model, card)
    figures: list[Figure] = [*own_figures]
    pictures = torch.cat(fitted.pictures[:CHECKED] or [fitted.example])

    def check(file: Path) -> None:
        figures.extend(check_parity(graph, file, pictures, bounds))

    several = "1 image" if len(pictures) == 1 else f"{len(pictures)} images"
    with step(f"check: ONNX Runtime against PyTorch on {several}"):
        write(model, path, verify=check)
    return Exported(path, card, figures, notes)


def _network(request: ExportRequest, branch: Branch, weights: WeightsRequest) -> Network:
    module, name = request.modules.get(branch), request.networks.get(branch)
    given = request.settings.get(branch, {})
    if name in QUERY_NETWORKS and module is None:
        return replace(find_network(name, branch), settings=read_query_settings(given))
    settings = read_settings(given, detector=branch != "semantic")
    if request.proposals is not None and branch != "semantic":
        settings = {**settings, "rpn_post_nms_top_n_test": request.proposals}
    if module is not None:
        return live_network(module, name or type(module).__name__, branch, settings)
    if name is not None and is_import_path(name):
        return live_network(import_module_of(name), name, branch, settings)
    defaults = DEMO_NETWORKS if weights.spec == "demo" else DEFAULT_NETWORKS
    return find_network(name or defaults[branch], branch).with_settings(settings)


def _with_eps(weights: WeightsRequest, network: Network) -> WeightsRequest:
    """With the epsilon of frozen norms that settings say, where the request says none."""
    said = network.settings.get("frozen_norm_eps")
    return replace(weights, frozen_norm_eps=said) if weights.frozen_norm_eps is None else weights


def _trained_canvas(trained: Mapping[Branch, Trained]) -> tuple[int, int] | None:
    """The canvas that a query network's weights were trained on; None for other networks.

    Where it looks through square windows, one that a frame of 16:9 fills, as high as they are.
    """
    shapes = [network.model.shape for network in trained.values() if isinstance(network.model, EoMT)]
    if not shapes:
        return None
    side = shapes[0].side
    return (side, whole_strides(side * 16 / 9) if shapes[0].windowed else side)


def with_detections(limits: DetectionLimits, trained: Mapping[Branch, Trained]) -> DetectionLimits:
    """Limits with as many detections as the detector itself gives, where they name no number."""
    detectors: list[Any] = [network.model for network in trained.values() if is_detector(network.model)]
    if limits.max_detections is not None or not detectors:
        return limits
    return replace(limits, max_detections=int(detectors[0].roi_heads.detections_per_img))


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
    name = re.sub(r"[^\w.-]+", "_", "-".join([*parts, card.precision]))
    return Path("engines") / f"{name}.onnx"
