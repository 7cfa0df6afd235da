"""Settings that weights decide themselves, so that nobody can say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from segopt.errors import ExportError
from segopt.model.card import IMAGENET_MEAN, IMAGENET_STD
from segopt_export.networks.setting_values import to_json
from segopt_export.networks.settings import SETTINGS, Settings, is_detector
from segopt_export.networks.table import NETWORKS, Network

_OF_TRAINING = (
    "anchor_sizes",
    "aspect_ratios",
    "bbox_reg_weights",
    "box_roi_pool",
    "mask_roi_pool",
    "image_mean",
    "image_std",
    "frozen_norm_eps",
)
"""What a network was trained with: with another value its weights are those of another network."""

IN_DETECTRON2 = ("image_mean", "image_std", "frozen_norm_eps")
"""A checkpoint of Detectron2 holds ``pixel_mean`` and ``pixel_std``, and its frozen norms have one epsilon."""

_FIXED = {
    "demo": (_OF_TRAINING, "demo weights were trained with their own"),
    "random": (("frozen_norm_eps",), "random weights have no frozen batch norms"),
}


def check_spec_decides_none(network: Network, spec: str) -> None:
    """Refuse settings that demo or random weights cannot have.

    Raises:
        ExportError: names the setting.
    """
    if spec in _FIXED and network.settings:
        plain = NETWORKS[network.name]
        _refuse(network.settings, plain, plain.build, *_FIXED[spec], f"--weights {spec}")


def check_detectron2_decides_none(network: Network, path: Path) -> None:
    """Refuse settings that a checkpoint of Detectron2 decides.

    Raises:
        ExportError: names the setting.
    """
    plain = NETWORKS[network.name]
    if plain.detectron2 is not None and network.settings:
        why = "a checkpoint of Detectron2 decides that itself"
        _refuse(network.settings, plain, plain.detectron2, IN_DETECTRON2, why, str(path))


def check_mmdetection_decides_none(network: Network, model: nn.Module, path: Path) -> None:
    """Refuse settings that differ from what a checkpoint of mmdetection decides: all of them.

    Raises:
        ExportError: names the settings.
    """
    settings = network.settings
    if found := [name for name in settings if to_json(settings[name]) != to_json(_own(model, name))]:
        raise ExportError(
            f"{path}: a checkpoint of mmdetection decides its settings itself; leave {', '.join(found)} out of "
            "the settings"
        )


def _refuse(
    settings: Settings,
    plain: Network,
    build: Callable[..., nn.Module],
    names: Collection[str],
    why: str,
    what: str,
) -> None:
    given = [name for name in settings if name in names]
    if not given:
        return
    with torch.device("meta"):
        model = build(*((2, 2) if plain.branch == "panoptic" else (2,)))
    if found := [name for name in given if to_json(settings[name]) != to_json(_own(model, name))]:
        raise ExportError(f"{what}: {why}; leave {', '.join(found)} out of the settings")


def _own(model: nn.Module, name: str) -> Any:
    """What the network does without settings; to say it again does no harm, as cards do."""
    if name == "frozen_norm_eps":
        norms: Iterator[Any] = (m for m in model.modules() if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d)))
        return next(norm.eps for norm in norms)
    if is_detector(model) and (value := SETTINGS[name].read(model)) is not None:
        return value
    return {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}.get(name)
