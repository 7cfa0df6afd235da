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
from segopt_export.networks.table import NETWORKS, Network
from segopt_export.weights.head_widths import adopt_head_widths
from segopt_export.weights.key_map import (
    KeyMap,
    from_pixels,
    last_first,
    with_background_boxes,
    with_background_mask,
)

PIXEL_MEAN = (103.530, 116.280, 123.675)
PIXEL_STD = (1.0, 1.0, 1.0)
"""BGR, what its configurations with MSRA's ResNets have; the mean is ImageNet's, as torchvision has it."""

_MARKS = ("backbone.bottom_up.", "proposal_generator.", "sem_seg_head.")
_MAP = KeyMap(
    library="Detectron2",
    names=(
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
    ),
    # Constants that files of 2019 and 2020 hold beside the weights.
    not_weights=re.compile(r"pixel_mean|pixel_std|proposal_generator\.anchor_generator\.cell_anchors\.\d+"),
    changes={
        "backbone.bottom_up.stem.conv1": from_pixels(PIXEL_STD, bgr=True),
        "roi_heads.box_predictor.cls_score": last_first,
        "roi_heads.box_predictor.bbox_pred": with_background_boxes,
        "roi_heads.mask_head.predictor": with_background_mask,
    },
)


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
    return _MAP.weights_in(state) == _names_in(network, classes)


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
    return _MAP.name(name)


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
    given = _MAP.weights_in(state)
    for other in NETWORKS.values():
        if other.name != network.name and other.branch == network.branch and given == _names_in(other, own):
            raise ExportError(f"{path}: these are Detectron2's weights of {other.name}, not of {network.name}")
    build = network.detectron2
    # Shapes first: a file can claim any, and a network of them would take the memory.
    with torch.device("meta"):
        wanted = _shaped(build, own, state).state_dict()
    tensors = from_detectron2(state, wanted, path)
    model = _shaped(build, own, state)
    model.load_state_dict(tensors)
    return model.eval(), own


def _shaped(build: Callable[..., nn.Module], classes: tuple[int, ...], state: Mapping[str, Tensor]) -> nn.Module:
    """The untrained network with a checkpoint's classes and widths of its heads (``FC_DIM``, ``CONV_DIM``)."""
    model = build(*classes)
    heads = [name for name in model.state_dict() if name.startswith("roi_heads.")]
    adopt_head_widths(
        model, {name: state[detectron2_name(name)] for name in heads if detectron2_name(name) in state}
    )
    return model


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
            f"{path}: is a Detectron2 checkpoint of another architecture ({_MAP.parts_of(state)}); segopt takes "
            "its Panoptic FPN and Mask R-CNN with ResNet-50 or ResNet-101 and FPN"
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
    return _MAP.translate(state, wanted, path)


def _check_pixels(state: Mapping[str, Tensor], path: Path) -> None:
    for name, expected in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
        given = state.get(name)
        if given is not None and not torch.allclose(given.flatten().to(torch.float32), torch.tensor(expected)):
            raise ExportError(
                f"{path}: was trained with {name} {[round(v, 3) for v in given.flatten().tolist()]}, and segopt "
                f"takes Detectron2's networks on MSRA's ResNets, with {list(expected)} (BGR)"
            )
