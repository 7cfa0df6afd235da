"""Weights of networks from the user's own code, which are built already."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from segopt.errors import ExportError
from segopt.files.hashing import sha256_of_file
from segopt.model.card import WeightsOrigin
from segopt_export.classes import numbered_classes, read_classes, read_panoptic_classes
from segopt_export.networks.panoptic_fpn import PanopticFPN
from segopt_export.networks.parts import check_detector, count_detector_classes, count_semantic_classes
from segopt_export.networks.table import Network
from segopt_export.weights.checkpoint import read_groups
from segopt_export.weights.eomt import load_eomt
from segopt_export.weights.file_kinds import note_on_name
from segopt_export.weights.loading import (
    COUNTER,
    MAX_CLASSES,
    Trained,
    WeightsRequest,
    check_finite,
    current_names,
    differences,
    load_weights,
    sha256_of_state,
)
from segopt_export.weights.random import enliven
from segopt_export.weights.selection import State, select


def load_any(network: Network, request: WeightsRequest, canvas: tuple[int, int]) -> Trained:
    """Build a named network, or take the user's own, and give it weights.

    Args:
        network: of the table, or of :func:`segopt_export.networks.live.live_network`.
        request: its weights; ``default`` are those that the user's own network came with.
        canvas: height and width in pixels.

    Raises:
        ExportError: the weights cannot be had or do not fit, or a static graph cannot carry the network.
    """
    if network.queries is not None:
        return load_eomt(network, request)
    if network.module is None:
        return load_weights(network, request)
    model, name = network.module, network.name
    if network.branch != "semantic":
        check_detector(model, name, canvas)
    counts = _class_counts(model, network, canvas)
    for count in counts:
        if not 2 <= count <= MAX_CLASSES:
            raise ExportError(f"{name}: tells {count} classes apart, and segopt takes 2 to {MAX_CLASSES}")
    origin, notes = _give_weights(model, name, request)
    lists = [numbered_classes(count) for count in counts]
    if request.class_file is not None and network.branch == "panoptic":
        lists = list(read_panoptic_classes(request.class_file, counts))
    elif request.class_file is not None:
        lists = [read_classes(request.class_file, counts[0], network.branch)]
    named = request.class_file is not None
    return Trained(
        network,
        model,
        lists[0],
        named,
        origin,
        semantic_classes=lists[1] if len(lists) > 1 else [],
        notes=tuple(notes),
    )


def _class_counts(model: nn.Module, network: Network, canvas: tuple[int, int]) -> list[int]:
    if network.branch == "semantic":
        return [count_semantic_classes(model, network.name, canvas)]
    counts = [count_detector_classes(model, network.name, canvas)]
    if isinstance(model, PanopticFPN) != (network.branch == "panoptic"):
        raise ExportError(
            f"{network.name}: is a {type(model).__name__}, and "
            + (
                "one network for a panoptic export is a PanopticFPN of segopt_export; give two, --semantic and "
                "--instance"
                if network.branch == "panoptic"
                else "answers things and stuff; export it with --mode panoptic"
            )
        )
    if isinstance(model, PanopticFPN):
        counts.append(model.semantic_head.predictor.out_channels)
    return counts


def _give_weights(model: nn.Module, name: str, request: WeightsRequest) -> tuple[WeightsOrigin, list[str]]:
    """Load what is asked for into the module; where it is from, and what a user should know of it."""
    if request.key is not None and request.spec in ("default", "demo", "random"):
        raise ExportError(f"weights key {request.key!r} is for a weights file, not for {request.spec} weights")
    if request.spec == "random":
        enliven(model, seed=request.seed)
        return WeightsOrigin(f"random (seed {request.seed})", sha256_of_state(model.state_dict())), []
    if request.spec == "demo":
        raise ExportError(f"demo weights are of segopt's own networks, not of {name}; leave --weights out")
    if request.spec == "default":
        check_finite(model, Path(name))
        return WeightsOrigin(f"as {name} came", sha256_of_state(model.state_dict())), []
    path = Path(request.spec)
    names = frozenset(name for name in model.state_dict() if not name.endswith(COUNTER))

    def misfits(state: State) -> list[str]:
        return differences(model, _without_auxiliary(model, state))

    selected = select(read_groups(path), [names], path, key=request.key, fits=lambda state: not misfits(state))
    if found := misfits(selected.state):
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise ExportError(f"{path}: these weights do not fit {name}: {'; '.join(found[:3])}{more}")
    state = _without_auxiliary(model, selected.state)
    model.load_state_dict(current_names(model, state), strict=False)
    check_finite(model, path, selected.key)
    notes = [note for note in (note_on_name(path), selected.note) if note]
    return WeightsOrigin(path.name, sha256_of_file(path)), notes


def _without_auxiliary(model: nn.Module, state: State) -> State:
    """Without torchvision's head that is there for training alone, where the model has none."""
    if getattr(model, "aux_classifier", model) is not None:
        return state
    return {name: tensor for name, tensor in state.items() if not name.startswith("aux_classifier.")}
