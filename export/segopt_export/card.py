"""The card of an export: what the file says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx
import torch
import torchvision

from segopt.errors import ExportError
from segopt.model.card import Card, Mode, PasteRule
from segopt.model.categories import Category
from segopt.version import __version__
from segopt_export.classes import (
    ClassEntry,
    categories_of,
    note_on_stuff,
    panoptic_categories,
    query_categories,
    query_views,
)
from segopt_export.networks.eomt import EoMT
from segopt_export.networks.families import TORCHVISION, rules_of
from segopt_export.networks.table import Branch
from segopt_export.request import ExportRequest
from segopt_export.settings_notes import notes_on_settings, recorded_settings
from segopt_export.static.build import QUERY_SCORE, query_slots, shared_normalization
from segopt_export.weights.loading import Trained


def make_card(
    request: ExportRequest, canvas: tuple[int, int], trained: Mapping[Branch, Trained]
) -> tuple[Card, list[str]]:
    """The card of an export, and what to tell the user about its classes."""
    notes = [
        f"{network.network.name} has RANDOM weights: for tests and latency, its answers mean nothing"
        for network in trained.values()
        if network.origin.is_random
    ]
    zoo_files = {network.origin.name: network.network.zoo_file for network in trained.values()}
    notes += [note for network in trained.values() for note in network.notes]
    notes += [zoo_file.note for name, zoo_file in zoo_files.items() if zoo_file and zoo_file.name == name]
    notes += notes_on_settings(request, trained)
    first = next(iter(trained.values()))
    if isinstance(first.model, EoMT):
        segments = _QUERY_SEGMENTS[request.mode](request, canvas, first, first.model)
    else:
        segments = _of_boxes(request, trained)
    mean, std = shared_normalization(trained)
    card = Card(
        mode=request.mode,
        networks={branch: network.network.name for branch, network in trained.items()},
        canvas=canvas,
        batch=request.batch,
        precision=request.precision,
        target=request.target,
        categories=segments.categories,
        weights={branch: network.origin for branch, network in trained.items()},
        mean=mean,
        std=std,
        settings={branch: recorded_settings(network) for branch, network in trained.items()},
        versions={
            "segopt": __version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
            "onnx": onnx.__version__,
        },
        **segments.members,
    )
    # What is written must be read again: found out here, before the work.
    Card.from_json(card.to_json(), source="the new card")
    return card, notes + segments.notes


@dataclass(frozen=True)
class _Segments:
    """What a card says of how a network's answer becomes segments."""

    categories: Mapping[Mode, tuple[Category, ...]]
    notes: list[str]
    members: Mapping[str, Any]
    """Of the card."""


def _of_boxes(request: ExportRequest, trained: Mapping[Branch, Trained]) -> _Segments:
    classes: dict[Branch, list[ClassEntry]] = {branch: network.classes for branch, network in trained.items()}
    semantic = trained.get("semantic")
    if (whole := trained.get("panoptic")) is not None:
        semantic = whole
        classes = {"semantic": whole.semantic_classes, "instance": whole.classes}
    categories: dict[Mode, tuple[Category, ...]] = {
        branch: categories_of(entries, branch) for branch, entries in classes.items()
    }
    notes: list[str] = []
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
        notes.append(note_on_stuff(categories["panoptic"], stuff, semantic.network.name, semantic.origin.name))
    members = {
        "stuff_classes": stuff,
        "max_detections": _slots(request, trained),
        "mask_paste": _mask_paste(trained),
    }
    return _Segments(categories, notes, members)


def _of_queries(request: ExportRequest, _: tuple[int, int], network: Trained, model: EoMT) -> _Segments:
    if not network.named:
        raise ExportError(
            f"{network.origin.name}: does not say which of its {len(network.classes)} classes are things; name "
            'them in their order with --classes FILE.json: [{"name": "car", "isthing": 1}, ...]'
        )
    categories, stuff = query_views(query_categories(network.classes))
    settings = network.network.settings
    members: dict[str, Any] = {
        "stuff_classes": stuff,
        "max_detections": query_slots(model, request.limits),
        "merge": "queries",
        "padding": (0, 0, 0),
        "query_score": settings.get("query_score", QUERY_SCORE),
        "mask_share": settings.get("mask_share", Card.mask_share),
        "map_scale": request.limits.map_scale,
    }
    return _Segments(
        categories,
        [note_on_stuff(categories["panoptic"], stuff, network.network.name, network.origin.name)],
        members,
    )


def _of_query_classes(_: ExportRequest, _canvas: tuple[int, int], network: Trained, _model: EoMT) -> _Segments:
    categories = tuple(
        replace(category, id=index) for index, category in enumerate(query_categories(network.classes))
    )
    members = {"stuff_classes": {}, "max_detections": 0, "padding": (0, 0, 0)}
    return _Segments({"semantic": categories}, [], members)


def _of_query_objects(request: ExportRequest, canvas: tuple[int, int], network: Trained, model: EoMT) -> _Segments:
    categories = tuple(replace(category, is_thing=True) for category in query_categories(network.classes))
    height, width = (side // model.shape.patch * 2**model.shape.upscale_blocks for side in canvas)
    members = {
        "stuff_classes": {},
        "max_detections": query_slots(model, request.limits),
        "mask_paste": "canvas",
        "mask_size": (height, width),
        "padding": (0, 0, 0),
    }
    return _Segments({"instance": categories}, [], members)


_QUERY_SEGMENTS = {"panoptic": _of_queries, "semantic": _of_query_classes, "instance": _of_query_objects}


def _slots(request: ExportRequest, trained: Mapping[Branch, Trained]) -> int:
    """Detections per frame: those of the request, else the detector's own; 0 where there is none."""
    detector: Any = trained.get("panoptic") or trained.get("instance")
    if detector is None:
        return 0
    return request.limits.max_detections or int(detector.model.roi_heads.detections_per_img)


def _mask_paste(trained: Mapping[Branch, Trained]) -> PasteRule:
    """The rule of the network that gives the masks."""
    detector = trained.get("panoptic") or trained.get("instance")
    return TORCHVISION.mask_paste if detector is None else rules_of(detector.model).mask_paste
