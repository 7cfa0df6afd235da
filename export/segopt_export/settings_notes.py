"""What an export says of settings that weights do not hold: their source, and what was taken for granted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from segopt_export.networks.families import TORCHVISION, rules_of
from segopt_export.networks.setting_values import shown, to_json
from segopt_export.networks.settings import is_detector, settings_of
from segopt_export.networks.table import Branch
from segopt_export.request import ExportRequest
from segopt_export.static.build import normalization_of, shared_normalization
from segopt_export.weights.fixed_settings import IN_DETECTRON2
from segopt_export.weights.loading import Trained, WeightsRequest

_OF_THE_CANVAS = ("min_size", "max_size")
"""The canvas takes their place, and the export says how large it is."""


def recorded_settings(network: Trained) -> dict[str, Any]:
    """Everything that a network's weights do not hold, as its card records it."""
    mean, std = normalization_of(network)
    found: dict[str, Any] = {"image_mean": mean, "image_std": std}
    if is_detector(network.model):
        found = {**settings_of(network.model), **found}
    ordinary = (module for module in network.model.modules() if isinstance(module, nn.BatchNorm2d))
    if network.network.frozen_norm_eps is not None and (norm := next(ordinary, None)) is not None:
        # These networks are built with ordinary norms, which compute what frozen ones do.
        found["frozen_norm_eps"] = norm.eps
    if network.network.queries is not None:
        found = {**network.network.settings, **found}
    recorded: dict[str, Any] = to_json(found)
    return recorded


def notes_on_settings(request: ExportRequest, trained: Mapping[Branch, Trained]) -> list[str]:
    """What a user should know of them, a line for each network."""
    notes = [_note(request, branch, network) for branch, network in trained.items()]
    shared = shared_normalization(trained)
    notes += [
        f"{network.network.name} was trained with image_mean {shown(own[0])}, and the canvas is padded with "
        f"{shown(shared[0])}: what lies beside a frame is not quite zero to it"
        for network in trained.values()
        if (own := normalization_of(network))[0] != shared[0]
    ]
    return [note for note in notes if note]


def _note(request: ExportRequest, branch: Branch, network: Trained) -> str | None:
    option = "--settings" if request.mode == branch else f"--{branch}-settings"
    given, values = network.network.settings, recorded_settings(network)
    if network.network.module is not None and is_detector(network.model):
        return (
            f"{network.network.name}: anchors, thresholds and normalization were read from the network itself"
            + (f"; {option} changed {', '.join(given)}" if given else "")
        )
    wanted = request.weights.get(branch, WeightsRequest())
    if network.network.module is None and wanted.spec in ("default", "demo", "random"):
        return f"{option} changed {', '.join(given)}" if given else None
    of_detectron2 = is_detector(network.model) and rules_of(network.model) is not TORCHVISION
    said = {*given, *_OF_THE_CANVAS, *(IN_DETECTRON2 if of_detectron2 else ())}
    untold = {name: value for name, value in values.items() if name not in said}
    if wanted.frozen_norm_eps is not None:
        untold.pop("frozen_norm_eps", None)
    if not untold:
        return None
    what = (
        "a network does not hold it" if network.network.module is not None else "a weights file does not hold it"
    )
    told = "; ".join(f"{name} {shown(value)}" for name, value in untold.items())
    return f"{network.origin.name}: taken for granted, since {what}: {told}; {option} FILE.json says otherwise"
