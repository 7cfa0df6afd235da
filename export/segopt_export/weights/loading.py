"""Weights for a network: torchvision's own, a fine-tuned file's, or random ones."""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from segopt.errors import ExportError
from segopt.files.hashing import sha256_of_file
from segopt.model.card import WeightsOrigin
from segopt_export.classes import (
    DEMO_FOLDER,
    ClassEntry,
    ClassLists,
    coco_class_lists,
    default_class_lists,
    numbered_classes,
    read_classes,
    read_panoptic_classes,
)
from segopt_export.exported import WARNING
from segopt_export.networks.families import Style
from segopt_export.networks.table import DEMO_NETWORKS, NETWORKS, Network
from segopt_export.weights.checkpoint import read_content, read_groups
from segopt_export.weights.detectron2 import (
    count_classes,
    detectron2_model,
    detectron2_name,
    detectron2_names,
    fits_detectron2,
    is_detectron2,
)
from segopt_export.weights.download import default_url, download, mirrored
from segopt_export.weights.file_kinds import note_on_name
from segopt_export.weights.fixed_settings import (
    check_detectron2_decides_none,
    check_mmdetection_decides_none,
    check_spec_decides_none,
)
from segopt_export.weights.head_widths import adopt_head_widths
from segopt_export.weights.mmdetection import (
    count_classes as mmdetection_counts,
)
from segopt_export.weights.mmdetection import (
    fits_mmdetection,
    is_mmdetection,
    mmdetection_model,
    mmdetection_name,
    mmdetection_names,
)
from segopt_export.weights.random import enliven
from segopt_export.weights.selection import select

MAX_CLASSES = 256
"""A label map is one byte a pixel."""


@dataclass(frozen=True)
class Trained:
    """A network with its weights."""

    network: Network
    model: nn.Module
    classes: list[ClassEntry]
    """By index, background first where there is one."""
    semantic_classes: list[ClassEntry] = field(default_factory=list, kw_only=True)
    """Panoptic networks: those of the semantic head, "things" first."""
    named: bool
    """Whether the classes' names are known."""
    origin: WeightsOrigin
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    """What a user should know of the weights."""


@dataclass(frozen=True)
class WeightsRequest:
    """Which weights are wanted."""

    spec: str = "default"
    """``default``, ``demo``, ``random``, or a file."""
    class_file: Path | None = None
    frozen_norm_eps: float | None = None
    """Epsilon of frozen batch norms; None takes what ``weights="DEFAULT"`` sets."""
    seed: int = 0
    """Of random weights."""
    key: str | None = None
    """Where a file holds several networks that fit: the key of the one to take."""
    style: Style | None = None
    """Of the ResNet of a checkpoint of mmdetection, where the checkpoint does not say it."""


def load_weights(network: Network, request: WeightsRequest) -> Trained:
    """Build a network and give it weights.

    Raises:
        ExportError: the weights cannot be had, or do not fit the network.
    """
    if request.key is not None and request.spec in ("default", "demo", "random"):
        raise ExportError(f"weights key {request.key!r} is for a weights file, not for {request.spec} weights")
    if request.style is not None and request.spec in ("default", "demo", "random"):
        raise ExportError(f"weights style is for a file of mmdetection's, not for {request.spec} weights")
    check_spec_decides_none(network, request.spec)
    if request.spec == "random":
        return _random(network, request)
    weights, zoo_file = network.default_weights, network.zoo_file
    default = request.spec == "default"
    classes: ClassLists | None = default_class_lists(network)
    if default and zoo_file is not None:
        path, name = download(mirrored(zoo_file.url), sha256=zoo_file.sha256 or ""), zoo_file.name
    elif default and weights is not None:
        path, name = download(default_url(weights)), weights.name
    elif default or request.spec == "demo":
        path, name = demo_file(network), "demo"
    else:
        path, classes = Path(request.spec), None
        name = path.name
    selected = select(
        read_groups(path), _known_names(network), path, key=request.key, fits=lambda state: _fits(network, state)
    )
    state = selected.state
    if request.style is not None and not is_mmdetection(state):
        raise ExportError(
            f"{path}: is no checkpoint of mmdetection, and others have no style; leave the style out"
        )
    translated = None
    if is_mmdetection(state):
        _check_counts(mmdetection_counts(state, path), path)
        translated = mmdetection_model(network, state, read_content(path), path, style=request.style)
        model, counts = translated.model, translated.counts
        check_mmdetection_decides_none(network, model, path)
        classes = translated.classes or _coco_classes(network, counts)
    elif is_detectron2(state):
        check_detectron2_decides_none(network, path)
        _check_counts(count_classes(state, path).built, path)
        model, counts = detectron2_model(network, state, path)
        classes = classes or _coco_classes(network, counts)
    else:
        model = _model_with(network, state, path, request.frozen_norm_eps)
        counts = network.class_counts(state) or ()
    their_name = detectron2_name if is_detectron2(state) else mmdetection_name if translated else str
    check_finite(model, path, selected.key, their_name)
    if request.class_file:
        classes = _read_classes(request.class_file, counts, network)
    lists = classes or tuple(numbered_classes(count) for count in counts)
    origin = WeightsOrigin(name, sha256_of_file(path))
    notes = [note for note in (note_on_name(path), selected.note, translated and translated.note) if note]
    if default and zoo_file is not None and zoo_file.sha256 is None:
        notes.append(_note_on_unchecked(zoo_file.url, origin))
    return _trained(network, model, lists, origin, named=classes is not None, notes=notes)


def _note_on_unchecked(url: str, origin: WeightsOrigin) -> str:
    return (
        f"{WARNING}{Path(url).name} could not be checked, since nobody published its SHA-256: what came has "
        f"{origin.sha256}; compare it with that of a copy you trust, or give such a copy with --weights FILE"
    )


def _trained(
    network: Network,
    model: nn.Module,
    lists: ClassLists,
    origin: WeightsOrigin,
    *,
    named: bool,
    notes: Sequence[str] = (),
) -> Trained:
    classes, *semantic = lists
    return Trained(
        network,
        model,
        classes,
        named,
        origin,
        semantic_classes=semantic[0] if semantic else [],
        notes=tuple(notes),
    )


@cache
def _own_names(name: str) -> frozenset[str]:
    """The names of a network's tensors, whatever its classes."""
    network = NETWORKS[name]
    some = (2, 2) if network.branch == "panoptic" else (2,)
    return frozenset(
        key for key in _on_meta(lambda: network.build(*some)).state_dict() if not key.endswith(COUNTER)
    )


def _known_names(network: Network) -> Iterator[frozenset[str]]:
    """What to look for in a checkpoint: this network, other libraries' forms of any, then every other network."""
    yield _own_names(network.name) | detectron2_names() | mmdetection_names()
    yield frozenset().union(*(_own_names(name) for name in NETWORKS))


def _coco_classes(network: Network, counts: tuple[int, ...]) -> ClassLists | None:
    """COCO's classes for a checkpoint of Detectron2 or mmdetection that has as many."""
    lists = coco_class_lists(network.branch)
    return lists if tuple(len(names) for names in lists) == counts else None


def _read_classes(path: Path, counts: tuple[int, ...], network: Network) -> ClassLists:
    if network.branch == "panoptic":
        return read_panoptic_classes(path, counts)
    return (read_classes(path, counts[0], network.branch),)


def demo_file(network: Network) -> Path:
    """The weights of a demo network, which are part of the package.

    Raises:
        ExportError: this network has none.
    """
    demo = DEMO_NETWORKS[network.branch]
    if network.name != demo:
        raise ExportError(
            f"demo weights are of {demo}, not of {network.name}; leave the network out, or give its weights as a "
            "file"
        )
    return DEMO_FOLDER / f"{network.branch}.safetensors"


def _random(network: Network, request: WeightsRequest) -> Trained:
    lists = default_class_lists(network)
    if request.class_file:
        raise ExportError(f"{request.class_file}: class names have no meaning for random weights; leave them out")
    model = network.build(*(len(names) for names in lists))
    enliven(model, seed=request.seed)
    origin = WeightsOrigin(f"random (seed {request.seed})", sha256_of_state(model.state_dict()))
    return _trained(network, model, lists, origin, named=True)


def _check_counts(counts: Sequence[int], path: Path) -> None:
    for count in counts:
        if not 2 <= count <= MAX_CLASSES:
            raise ExportError(f"{path}: has {count} classes, and segopt takes 2 to {MAX_CLASSES}")


def _model_with(network: Network, state: dict[str, Tensor], path: Path, frozen_eps: float | None) -> nn.Module:
    state = _without_auxiliary(network, state)
    counts = network.class_counts(state)
    if counts is None:
        raise ExportError(f"{path}: {_misfit(network, state)}")
    _check_counts(counts, path)
    # Shapes first: a file can claim any, and a network of them would take the memory.
    if differences(_on_meta(lambda: _shaped(network, counts, state)), state):
        raise ExportError(f"{path}: {_misfit(network, state)}")
    model = _shaped(network, counts, state)
    model.load_state_dict(current_names(model, state), strict=False)
    if network.frozen_norm_eps is not None and not any(name.endswith(COUNTER) for name in state):
        _set_norm_eps(model, network.frozen_norm_eps if frozen_eps is None else frozen_eps)
    return model.eval()


def _shaped(network: Network, counts: Sequence[int], state: Mapping[str, Tensor]) -> nn.Module:
    """The untrained network with a checkpoint's classes and head widths."""
    model = network.build(*counts)
    adopt_head_widths(model, current_names(model, state))
    return model.eval()


def _without_auxiliary(network: Network, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the head that is there for training alone, whatever its classes."""
    if network.auxiliary is None:
        return state
    return {name: tensor for name, tensor in state.items() if not name.startswith(network.auxiliary)}


def check_finite(model: nn.Module, path: Path, key: str = "", name_in_file: Callable[[str], str] = str) -> None:
    """Refuse weights that are no numbers.

    Args:
        model: the network, with the weights.
        path: of their file, for the message.
        key: what stands before the names there.
        name_in_file: from the network's name of a tensor to the file's.

    Raises:
        ExportError: a tensor holds NaN or infinity; the message names it.
    """
    sick = [name for name, tensor in model.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if not sick:
        return
    tensor = model.state_dict()[sick[0]]
    what = "NaN" if bool(tensor.isnan().any()) else "infinity"
    count = int((~torch.isfinite(tensor)).sum())
    name = f"{key}.{name_in_file(sick[0])}" if key else name_in_file(sick[0])
    more = f", and {len(sick) - 1} more tensors" if len(sick) > 1 else ""
    raise ExportError(
        f"{path}: holds {what} in {name} ({count} of {tensor.numel()} values){more}: the training diverged or the "
        "file is damaged; take an earlier checkpoint"
    )


# Batch norms that were frozen in training have no counter of batches; the network is built with ordinary ones,
# which compute the same in eval mode.
COUNTER = "num_batches_tracked"
"""Ending of the names of tensors that a checkpoint may do without."""


def _set_norm_eps(model: nn.Module, eps: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps


def current_names(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names that a network has today.

    A module renames what an earlier version of itself saved while it loads it: torchvision's feature pyramid, RPN
    head and mask head had other names up to version 0.12, and its published Mask R-CNN is of that time. So their
    own loading is run, into a copy of the network that has no memory, and what it made of the names is kept.
    """
    shapes = deepcopy(model).to("meta")
    renamed = OrderedDict(state)
    with warnings.catch_warnings():
        # Loading into tensors without memory does nothing, and PyTorch says so for each of them.
        warnings.simplefilter("ignore", UserWarning)
        for name, module in shapes.named_modules():
            prefix = f"{name}." if name else ""
            module._load_from_state_dict(renamed, prefix, {}, True, [], [], [])
    return dict(renamed)


def differences(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """One phrase for each tensor that is missing, left over or of another shape."""
    wanted = {name: t for name, t in model.state_dict().items() if not name.endswith(COUNTER)}
    given = {name: t for name, t in current_names(model, state).items() if not name.endswith(COUNTER)}
    return [
        *(f"{name} is missing" for name in wanted if name not in given),
        *(f"{name} is not of this network" for name in given if name not in wanted),
        *(
            f"{name} is {list(given[name].shape)}, not {list(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in given and given[name].shape != tensor.shape
        ),
    ]


def _misfit(network: Network, state: dict[str, Tensor]) -> str:
    for other in NETWORKS.values():
        if other.name != network.name and _fits(other, state):
            return f"these are weights of {other.name}, not of {network.name}"
    some = (2, 2) if network.branch == "panoptic" else (2,)
    state = _without_auxiliary(network, state)
    given = network.class_counts(state)
    counts = given if given and all(2 <= count <= MAX_CLASSES for count in given) else some
    found = differences(_on_meta(lambda: _shaped(network, counts, state)), state)
    shown = "; ".join(found[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return f"these weights do not fit {network.name}: {shown}{more}"


def _fits(network: Network, state: dict[str, Tensor]) -> bool:
    if is_detectron2(state):
        return fits_detectron2(network, state)
    if is_mmdetection(state):
        return fits_mmdetection(network, state)
    state = _without_auxiliary(network, state)
    counts = network.class_counts(state)
    if not counts or not all(2 <= count <= MAX_CLASSES for count in counts):
        return False
    return not differences(_on_meta(lambda: _shaped(network, counts, state)), state)


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network's shapes without its memory."""
    with torch.device("meta"):
        return build()


def sha256_of_state(state: dict[str, Tensor]) -> str:
    """Hexadecimal SHA-256 of tensors where there is no file."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
