"""Weights of mmdetection's Mask R-CNN and Panoptic FPN, versions 2 and 3: its names and layouts to ours.

What differs beyond the names:

- Its classifiers have the background last, and its semantic head the things.
- Networks of style ``caffe`` take BGR from 0 to 255 minus the mean, and have their strides elsewhere. Their
  tensors look the same; which style it is stands in the configuration that a checkpoint holds as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from segopt.errors import ExportError
from segopt_export.classes import ClassEntry, ClassLists, coco_class_lists
from segopt_export.networks.families import Style
from segopt_export.networks.table import NETWORKS, Branch, Network
from segopt_export.weights.key_map import (
    KeyMap,
    from_pixels,
    last_first,
    with_background_boxes,
    with_background_mask,
)
from segopt_export.weights.mmdetection_settings import (
    apply_config,
    check_config,
    class_names_of,
    config_of,
    meta_of,
    pixels_of,
    pixels_of_style,
    rules_for,
    style_of,
)

_MARKS = ("neck.", "rpn_head.", "roi_head.")

MAP = KeyMap(
    library="mmdetection",
    names=(
        (r"backbone\.body\.", "backbone."),
        (r"backbone\.fpn\.inner_blocks\.(\d)\.0\.", r"neck.lateral_convs.\1.conv."),
        (r"backbone\.fpn\.layer_blocks\.(\d)\.0\.", r"neck.fpn_convs.\1.conv."),
        (r"rpn\.head\.conv\.0\.0\.", "rpn_head.rpn_conv."),
        (r"rpn\.head\.cls_logits\.", "rpn_head.rpn_cls."),
        (r"rpn\.head\.bbox_pred\.", "rpn_head.rpn_reg."),
        (r"roi_heads\.box_head\.fc6\.", "roi_head.bbox_head.shared_fcs.0."),
        (r"roi_heads\.box_head\.fc7\.", "roi_head.bbox_head.shared_fcs.1."),
        (r"roi_heads\.box_predictor\.cls_score\.", "roi_head.bbox_head.fc_cls."),
        (r"roi_heads\.box_predictor\.bbox_pred\.", "roi_head.bbox_head.fc_reg."),
        (r"roi_heads\.mask_head\.(\d)\.0\.", r"roi_head.mask_head.convs.\1.conv."),
        (r"roi_heads\.mask_predictor\.conv5_mask\.", "roi_head.mask_head.upsample."),
        (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "roi_head.mask_head.conv_logits."),
        (r"semantic_head\.scales\.(\d)\.conv(\d)\.", r"semantic_head.conv_upsample_layers.\1.conv.\2.conv."),
        (r"semantic_head\.scales\.(\d)\.norm(\d)\.", r"semantic_head.conv_upsample_layers.\1.conv.\2.gn."),
        (r"semantic_head\.predictor\.", "semantic_head.conv_logits."),
    ),
    # Batch norms are frozen here, and have no counter of batches.
    not_weights=re.compile(r".*\.num_batches_tracked"),
    changes={
        "roi_head.bbox_head.fc_cls": last_first,
        "roi_head.bbox_head.fc_reg": with_background_boxes,
        "roi_head.mask_head.conv_logits": with_background_mask,
        "semantic_head.conv_logits": last_first,
    },
)


@dataclass(frozen=True)
class FromMMDetection:
    """A network with the weights of a checkpoint of mmdetection's."""

    model: nn.Module
    """In eval mode."""
    counts: tuple[int, ...]
    """Of classes, as :meth:`segopt_export.networks.table.Network.build` takes them."""
    classes: ClassLists | None
    """None where the checkpoint does not name them."""
    note: str
    """What was read from the checkpoint, and what was taken for granted."""


def is_mmdetection(state: Mapping[str, Tensor]) -> bool:
    """Whether the names of a state dict are mmdetection's."""
    return any(name.startswith(_MARKS) for name in state)


def mmdetection_name(name: str) -> str:
    """What mmdetection calls a tensor of ours."""
    return MAP.name(name)


@cache
def mmdetection_names() -> frozenset[str]:
    """The names of all networks that mmdetection's checkpoints are taken of."""
    return frozenset(name for network in NETWORKS.values() for name in _names_in(network, _some(network)))


def fits_mmdetection(network: Network, state: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint of mmdetection's has the names of a network."""
    return MAP.weights_in(state) == _names_in(network, _some(network))


def mmdetection_model(
    network: Network, state: Mapping[str, Tensor], content: object, path: Path, *, style: Style | None = None
) -> FromMMDetection:
    """The network that a checkpoint of mmdetection's is of, with its weights.

    Args:
        network: of the table.
        state: the checkpoint's ``state_dict``.
        content: all of the checkpoint, for its ``meta``.
        path: of the checkpoint, for messages.
        style: of its ResNet, where the checkpoint does not say it.

    Raises:
        ExportError: the checkpoint is of another network, does not fit, or was trained by other rules.
    """
    if network.mmdetection is None:
        takers = ", ".join(other.name for other in NETWORKS.values() if other.mmdetection is not None)
        raise ExportError(
            f"{path}: is a checkpoint of mmdetection, which fits {takers}; {network.name} is none of them"
        )
    counts = count_classes(state, path)
    _check_network(network, counts, state, path)
    meta = meta_of(content)
    config = config_of(meta)
    check_config(config, path)
    said = style_of(config, path)
    if said is not None and style not in (None, said):
        raise ExportError(f"{path}: its configuration says style {said}, not {style}; leave --weights-style out")
    chosen: Style = said or style or "pytorch"
    pixels = pixels_of(config, path) or pixels_of_style(chosen)
    key_map = replace(MAP, changes={**MAP.changes, "backbone.conv1": from_pixels(pixels.std, bgr=pixels.bgr)})
    rules = rules_for(chosen, config, panoptic=network.branch == "panoptic")
    with torch.device("meta"):
        wanted = network.mmdetection(*counts, rules=rules).state_dict()
    tensors = key_map.translate(state, wanted, path)
    model = network.mmdetection(*counts, rules=rules)
    model.load_state_dict(tensors)
    apply_config(model, config, path)
    classes = class_lists(class_names_of(meta), counts, network.branch)
    return FromMMDetection(model.eval(), counts, classes, _note(path, chosen, said, style))


def count_classes(state: Mapping[str, Tensor], path: Path) -> tuple[int, ...]:
    """Read the numbers of classes off the last layers: background included, and of a semantic head.

    Raises:
        ExportError: this is no checkpoint of a network with masks and a feature pyramid.
    """
    scores = state.get("roi_head.bbox_head.fc_cls.weight")
    if scores is None or "roi_head.mask_head.conv_logits.weight" not in state or scores.ndim != 2:
        raise ExportError(
            f"{path}: is an mmdetection checkpoint of another architecture ({MAP.parts_of(state)}); segopt takes "
            "its Panoptic FPN and Mask R-CNN with ResNet-50 or ResNet-101 and FPN"
        )
    semantic = state.get("semantic_head.conv_logits.weight")
    return (len(scores), len(semantic)) if semantic is not None and semantic.ndim else (len(scores),)


def class_lists(names: list[str], counts: tuple[int, ...], branch: Branch) -> ClassLists | None:
    """The classes that a checkpoint names, with COCO's ids where they are COCO's; None where they do not fit."""
    things = counts[0] - 1
    stuff = counts[1] - 1 if len(counts) > 1 else 0
    coco = coco_class_lists(branch)
    if [entry.name for entries in coco for entry in entries[1:]] == names and len(names) == things + stuff:
        return coco
    if len(names) != things + stuff:
        return None
    detector = [ClassEntry("background"), *(ClassEntry(name, is_thing=True) for name in names[:things])]
    if not stuff:
        return (detector,)
    kinds = [ClassEntry(name, is_thing=False) for name in names[things:]]
    return detector, [ClassEntry("things", is_thing=True), *kinds]


def _check_network(network: Network, counts: tuple[int, ...], state: Mapping[str, Tensor], path: Path) -> None:
    if (len(counts) > 1) != (network.branch == "panoptic"):
        kind, mode = ("Panoptic FPN", "panoptic") if len(counts) > 1 else ("Mask R-CNN", "instance")
        raise ExportError(f"{path}: is an mmdetection checkpoint of {kind}; export it with --mode {mode}")
    given = MAP.weights_in(state)
    for other in NETWORKS.values():
        if other.name != network.name and other.branch == network.branch and given == _names_in(other, counts):
            raise ExportError(f"{path}: these are mmdetection's weights of {other.name}, not of {network.name}")


def _names_in(network: Network, classes: tuple[int, ...]) -> set[str]:
    """Names of a checkpoint of mmdetection's of a network; none where it has no such network."""
    if network.mmdetection is None:
        return set()
    rules = rules_for("pytorch", {}, panoptic=network.branch == "panoptic")
    with torch.device("meta"):
        return {MAP.name(name) for name in network.mmdetection(*classes, rules=rules).state_dict()}


def _some(network: Network) -> tuple[int, ...]:
    return (2, 2) if network.branch == "panoptic" else (2,)


def _note(path: Path, style: Style, said: Style | None, wanted: Style | None) -> str:
    if said is not None:
        return f"{path.name}: a checkpoint of mmdetection; style {said} and thresholds are its configuration's"
    basis = (
        "as you said" if wanted is not None else "which was taken for granted (--weights-style caffe: the other)"
    )
    return (
        f"{path.name}: a checkpoint of mmdetection without its configuration, of style {style}, {basis}; "
        "thresholds are those of mmdetection's model zoo"
    )
