"""The PyTorch network that a card names, behind the runtime's :class:`segopt.backends.Backend`.

So the engine and the network it came from share every step but the network itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from segopt.backends import Backend
from segopt.model.card import Card
from segopt.model.tensors import input_specs, output_specs
from segopt.segmenter import Segmenter
from segopt.thresholds import Thresholds
from segopt_bench.evaluation.problems import EvaluationError
from segopt_export.classes import ClassEntry
from segopt_export.networks.settings_file import read_query_settings, read_settings
from segopt_export.networks.table import NETWORKS, QUERY_NETWORKS, Branch, find_network
from segopt_export.request import branches_of
from segopt_export.static.build import build_graph
from segopt_export.static.graph import SegmentationGraph
from segopt_export.static.limits import DetectionLimits, Target
from segopt_export.weights.hub import is_hub_id
from segopt_export.weights.live import load_any
from segopt_export.weights.loading import Trained, WeightsRequest


class TorchBackend(Backend):
    """A module of :func:`segopt_export.static.build.build_graph`, run eagerly in single precision on the CPU."""

    def __init__(self, graph: SegmentationGraph, card: Card) -> None:
        self.name = f"PyTorch {torch.__version__} (CPU)"
        self.inputs = input_specs(card)
        self.outputs = output_specs(card)
        self.graph = graph

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """See :class:`segopt.backends.Backend`."""
        with torch.no_grad():
            tensors = self.graph(torch.from_numpy(inputs["image"]))
        return {name: t.numpy() for name, t in zip(self.graph.output_names, tensors, strict=True)}

    def close(self) -> None:
        """Nothing to release."""


def torch_segmenter(card: Card, thresholds: Thresholds, files: Mapping[str, Path]) -> Segmenter:
    """The network of a card with the weights that the card names.

    What the card does not record (candidates, suppression steps) is at its default.

    Args:
        card: of the exported model.
        thresholds: that decoding and merging use.
        files: weights file of each branch whose weights came from a file.

    Raises:
        EvaluationError: a file is wanted, or has not the weights that the card names.
        ExportError: the weights cannot be had, or do not fit.
    """
    trained = load_trained(card, files)
    limits = DetectionLimits(max_detections=card.max_detections or None, map_scale=card.map_scale)
    target: Target = "tensorrt" if card.target == "tensorrt" else "cpu"
    graph = build_graph(trained, card.canvas, limits, target)
    return Segmenter(card, TorchBackend(graph, card), card.mode, thresholds)


def load_trained(card: Card, files: Mapping[str, Path]) -> dict[Branch, Trained]:
    """The networks that a card names, by branch, with their weights.

    Args:
        card: of the exported model.
        files: weights file of each branch whose weights came from a file.

    Raises:
        EvaluationError: a file is wanted, or has not the weights that the card names.
        ExportError: the weights cannot be had, or do not fit.
    """
    return {branch: _load(card, branch, files.get(branch)) for branch in branches_of(card.mode, card.networks)}


def _load(card: Card, branch: Branch, file: Path | None) -> Trained:
    name, origin = card.networks[branch], card.weights[branch]
    if name not in NETWORKS | QUERY_NETWORKS:
        # A card is data: it does not choose code to import.
        raise EvaluationError(
            f"the {branch} network {name} is of your own code, which is not run from a model file; "
            f"networks that can be compared are {', '.join(NETWORKS | QUERY_NETWORKS)}"
        )
    recorded = card.settings.get(branch, {})
    if name in QUERY_NETWORKS:
        settings = read_query_settings(recorded)
        network = replace(find_network(name, branch), settings=settings)
    else:
        settings = read_settings(recorded, detector=branch != "semantic")
        network = find_network(name, branch).with_settings(settings)
    if file is not None:
        request = WeightsRequest(str(file), frozen_norm_eps=settings.get("frozen_norm_eps"))
    elif seed := re.fullmatch(r"random \(seed (\d+)\)", origin.name):
        request = WeightsRequest("random", seed=int(seed[1]))
    elif origin.name == "demo":
        request = WeightsRequest("demo")
    elif network.queries is not None and is_hub_id(origin.name):
        request = WeightsRequest(origin.name)
    elif network.queries is None and origin.name == network.default_name:
        request = WeightsRequest("default")
    else:
        option = "--weights" if branch == card.mode else f"--{branch}-weights"
        raise EvaluationError(
            f"the {branch} weights came from the file {origin.name}; give it with {option} {origin.name}"
        )
    trained = load_any(network, request, card.canvas)
    if trained.origin.sha256 != origin.sha256:
        raise EvaluationError(
            f"{file or trained.origin.name}: are not the {branch} weights that the model was exported from "
            f"({origin.name}, sha256 {origin.sha256[:12]}); their sha256 is {trained.origin.sha256[:12]}"
        )
    return _with_ids_of(card, trained)


def _with_ids_of(card: Card, trained: Trained) -> Trained:
    """The same with the card's ids for a detector's classes: a weights file does not hold them."""
    if trained.network.queries is not None:
        own = [ClassEntry(c.name, c.is_thing, c.color, c.id) for c in card.categories["panoptic"]]
        return replace(trained, classes=own) if len(own) == len(trained.classes) else trained
    things = card.categories.get("instance", ())
    if trained.network.branch == "semantic" or len(things) != len(trained.classes) - 1:
        return trained
    return replace(trained, classes=[trained.classes[0], *(ClassEntry(c.name, id=c.id) for c in things)])
