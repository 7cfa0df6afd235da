"""Weights of Detectron2's Panoptic FPN and Mask R-CNN: its names and layouts to ours.

Every tensor is accounted for on both sides. What differs beyond the names:

- Detectron2 takes BGR from 0 to 255 minus the mean; here pictures are RGB from 0 to 1, normalized by mean and
  deviation. Means are the same color, so the first convolution takes up the rest and padding stays zero.
- Its classifiers have the background last, or not at all; torchvision's have it first.
- Class-agnostic boxes and masks are the same for every class here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from segopt.errors import ExportError
from segopt.model.card import IMAGENET_STD
from segopt_export.networks.table import NETWORKS, Network

PIXEL_MEAN = (103.530, 116.280, 123.675)
PIXEL_STD = (1.0, 1.0, 1.0)
"""BGR, what its configurations with MSRA's ResNets have; the mean is ImageNet's, as torchvision has it."""

_MAX_LISTED = 8
_MARKS = ("backbone.bottom_up.", "proposal_generator.", "sem_seg_head.")
_NOT_WEIGHTS = re.compile(r"pixel_mean|pixel_std|proposal_generator\.anchor_generator\.cell_anchors\.\d+")
"""Constants that files of 2019 and 2020 hold beside the weights."""

_NAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"backbone\.body\.conv1\.", "backbone.bottom_up.stem.conv1."),
    (r"backbone\.body\.bn1\.", "backbone.bottom_up.stem.conv1.norm."),
    (
        r"backbone\.body\.layer(\d)\.(\d+)\.",
        lambda found: f"backbone.bottom_up.res{int(found[1]) + 1}.{found[2]}.",
    ),
    (r"(?<=\d\.)bn(\d)\.", r"conv\1.norm."),
    (r"(?<=\d\.)downsample\.0\.", "shortcut."),
    (r"(?<=\d\.)downsample\.1\.", "shortcut.norm."),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.0\.", lambda found: f"backbone.fpn_lateral{int(found[1]) + 2}."),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.0\.", lambda found: f"backbone.fpn_output{int(found[1]) + 2}."),
    (r"rpn\.head\.conv\.0\.0\.", "proposal_generator.rpn_head.conv."),
    (r"rpn\.head\.cls_logits\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"rpn\.head\.bbox_pred\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"roi_heads\.box_head\.fc6\.", "roi_heads.box_head.fc1."),
    (r"roi_heads\.box_head\.fc7\.", "roi_heads.box_head.fc2."),
    (r"roi_heads\.mask_head\.(\d)\.0\.", lambda found: f"roi_heads.mask_head.mask_fcn{int(found[1]) + 1}."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", "roi_heads.mask_head.deconv."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "roi_heads.mask_head.predictor."),
    # A round there is a convolution that holds its norm, and an upsampling that holds nothing.
    (
        r"semantic_head\.scales\.(\d)\.conv(\d)\.",
        lambda found: f"sem_seg_head.p{int(found[1]) + 2}.{2 * int(found[2])}.",
    ),
    (
        r"semantic_head\.scales\.(\d)\.norm(\d)\.",
        lambda found: f"sem_seg_head.p{int(found[1]) + 2}.{2 * int(found[2])}.norm.",
    ),
    (r"semantic_head\.predictor\.", "sem_seg_head.predictor."),
)
"""Patterns of our names, and what Detectron2 writes in their place."""


@dataclass(frozen=True)
class ClassCounts:
    """How many classes a checkpoint was trained for."""

    things: int
    """Background not included."""
    semantic: int | None
    """Of the semantic head, "things" included; None where there is no such head."""

    @property
    def built(self) -> tuple[int, ...]:
        """As our network is built with them, background included."""
        return (self.things + 1, *([self.semantic] if self.semantic is not None else []))


def is_detectron2(state: Mapping[str, Tensor]) -> bool:
    """Whether the names of a state dict are Detectron2's."""
    return any(name.startswith(_MARKS) for name in state)


def fits_detectron2(network: Network, state: Mapping[str, Tensor]) -> bool:
    """Whether a Detectron2 checkpoint has the names of a network."""
    classes = (2, 2) if network.branch == "panoptic" else (2,)
    return {name for name in state if not _NOT_WEIGHTS.fullmatch(name)} == _names_in(network, classes)


@cache
def detectron2_names() -> frozenset[str]:
    """The names of all networks that Detectron2's checkpoints are taken of."""
    networks = [network for network in NETWORKS.values() if network.detectron2 is not None]
    return frozenset(
        name
        for network in networks
        for name in _names_in(network, (2, 2) if network.branch == "panoptic" else (2,))
    )


def detectron2_name(name: str) -> str:
    """What Detectron2 calls a tensor of ours."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def detectron2_model(
    network: Network, state: Mapping[str, Tensor], path: Path
) -> tuple[nn.Module, tuple[int, ...]]:
    """The network that a Detectron2 checkpoint is of, with its weights, in eval mode, and its numbers of classes.

    Raises:
        ExportError: the checkpoint is of another network, or does not fit.
    """
    if network.detectron2 is None:
        takers = ", ".join(other.name for other in NETWORKS.values() if other.detectron2 is not None)
        raise ExportError(
            f"{path}: is a checkpoint of Detectron2, which fits {takers}; {network.name} is none of them"
        )
    counts = count_classes(state, path)
    if (counts.semantic is None) == (network.branch == "panoptic"):
        kind, mode = ("Mask R-CNN", "instance") if counts.semantic is None else ("Panoptic FPN", "panoptic")
        raise ExportError(f"{path}: is a Detectron2 checkpoint of {kind}; export it with --mode {mode}")
    own = counts.built
    given = {name for name in state if not _NOT_WEIGHTS.fullmatch(name)}
    for other in NETWORKS.values():
        if other.name != network.name and other.branch == network.branch and given == _names_in(other, own):
            raise ExportError(f"{path}: these are Detectron2's weights of {other.name}, not of {network.name}")
    tensors = from_detectron2(state, _shapes(network.detectron2, own), path)
    model = network.detectron2(*own)
    model.load_state_dict(tensors)
    return model.eval(), own


def _names_in(network: Network, classes: tuple[int, ...]) -> set[str]:
    """Names of a checkpoint of Detectron2's of a network; none where it has no such network."""
    if network.detectron2 is None:
        return set()
    return {detectron2_name(name) for name in _shapes(network.detectron2, classes)}


def _shapes(build: Callable[..., nn.Module], classes: tuple[int, ...]) -> dict[str, Tensor]:
    """A network's state dict without its memory."""
    with torch.device("meta"):
        return build(*classes).state_dict()


def count_classes(state: Mapping[str, Tensor], path: Path) -> ClassCounts:
    """Read the numbers of classes off the last layers.

    Raises:
        ExportError: this is no checkpoint of a network with masks and a feature pyramid.
    """
    scores = state.get("roi_heads.box_predictor.cls_score.weight")
    if scores is None or "roi_heads.mask_head.predictor.weight" not in state or scores.ndim != 2:
        raise ExportError(
            f"{path}: is a Detectron2 checkpoint of another architecture ({_kinds(state)}); segopt takes its "
            "Panoptic FPN and Mask R-CNN with ResNet-50 or ResNet-101 and FPN"
        )
    semantic = state.get("sem_seg_head.predictor.weight")
    return ClassCounts(len(scores) - 1, len(semantic) if semantic is not None and semantic.ndim else None)


def from_detectron2(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Translate a checkpoint.

    Args:
        state: Detectron2's state dict.
        wanted: state dict of our network with as many classes, of which names and shapes are used.
        path: of the checkpoint, for messages.

    Returns:
        A state dict with the names and shapes of ``wanted``.

    Raises:
        ExportError: tensors are missing, left over or of another shape, or the network was trained on pictures
            that were normalized otherwise.
    """
    _check_pixels(state, path)
    ours = {detectron2_name(name): name for name in wanted}
    missing = [f"{name} is missing" for name in ours if name not in state]
    extra = [
        f"{name} is not of this network" for name in state if name not in ours and not _NOT_WEIGHTS.fullmatch(name)
    ]
    translated, misshapen = {}, []
    for name in ours.keys() & state.keys():
        shape = wanted[ours[name]].shape
        tensor = translated[ours[name]] = _translate(name, state[name], wanted[ours[name]])
        if tensor.shape != shape:
            misshapen.append(f"{name} is {list(state[name].shape)}, which makes no {list(shape)}")
    if problems := [*missing, *extra, *sorted(misshapen)]:
        shown = "; ".join(problems[:_MAX_LISTED])
        more = f"; and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise ExportError(f"{path}: {len(problems)} of this Detectron2 checkpoint's tensors misfit: {shown}{more}")
    return translated


def _translate(name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    tensor = tensor.to(torch.float32)
    change = _CHANGES.get(name.rpartition(".")[0])
    return tensor if change is None or tensor.ndim == 0 else change(tensor, wanted)


def _rgb_from_0_to_1(weight: Tensor, wanted: Tensor) -> Tensor:  # noqa: ARG001
    """[out, 3, k, k] for BGR of 0 to 255 minus the mean -> for normalized RGB."""
    if weight.ndim != 4 or weight.shape[1] != 3:
        return weight
    return weight.flip(1) * (255 * torch.tensor(IMAGENET_STD)).reshape(3, 1, 1)


def _background_first(rows: Tensor, wanted: Tensor) -> Tensor:  # noqa: ARG001
    return rows.roll(1, dims=0)


def _with_background_boxes(rows: Tensor, wanted: Tensor) -> Tensor:
    """Four rows for each foreground class, or four for all of them -> four for each class, zero for background."""
    if len(rows) == 4:
        rows = rows.repeat(len(wanted) // 4 - 1, *([1] * (rows.ndim - 1)))
    return torch.cat((torch.zeros_like(rows[:4]), rows))


def _with_background_mask(rows: Tensor, wanted: Tensor) -> Tensor:
    """One row for each foreground class, or one for all of them -> one for each class, zero for background."""
    if len(rows) == 1:
        rows = rows.repeat(len(wanted) - 1, *([1] * (rows.ndim - 1)))
    return torch.cat((torch.zeros_like(rows[:1]), rows))


_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "backbone.bottom_up.stem.conv1": _rgb_from_0_to_1,
    "roi_heads.box_predictor.cls_score": _background_first,
    "roi_heads.box_predictor.bbox_pred": _with_background_boxes,
    "roi_heads.mask_head.predictor": _with_background_mask,
}
"""By the layer's name there: its tensor, and ours whose shape it must get."""


def _check_pixels(state: Mapping[str, Tensor], path: Path) -> None:
    for name, expected in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
        given = state.get(name)
        if given is not None and not torch.allclose(given.flatten().to(torch.float32), torch.tensor(expected)):
            raise ExportError(
                f"{path}: was trained with {name} {[round(v, 3) for v in given.flatten().tolist()]}, and segopt "
                f"takes Detectron2's networks on MSRA's ResNets, with {list(expected)} (BGR)"
            )


def _kinds(state: Mapping[str, Tensor]) -> str:
    """The parts that a state dict has, for messages."""
    parts = sorted({".".join(name.split(".")[:2]) for name in state if not _NOT_WEIGHTS.fullmatch(name)})
    return ", ".join(parts[:_MAX_LISTED]) + (", ..." if len(parts) > _MAX_LISTED else "")
