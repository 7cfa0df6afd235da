"""Settings that weights decide themselves, so that nobody can say otherwise."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from segopt.errors import ExportError
from segopt_export.networks.settings import Settings

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


def check_spec_decides_none(settings: Settings, spec: str) -> None:
    """Refuse settings that demo or random weights cannot have.

    Raises:
        ExportError: names the setting.
    """
    names, why = _FIXED.get(spec, ((), ""))
    _refuse(settings, names, f"--weights {spec}", why)


def check_detectron2_decides_none(settings: Settings, path: Path) -> None:
    """Refuse settings that a checkpoint of Detectron2 decides.

    Raises:
        ExportError: names the setting.
    """
    _refuse(settings, IN_DETECTRON2, str(path), "a checkpoint of Detectron2 decides that itself")


def check_mmdetection_decides_none(settings: Settings, path: Path) -> None:
    """Refuse settings for a checkpoint of mmdetection, whose configuration and rules decide them all.

    Raises:
        ExportError: names the settings.
    """
    _refuse(settings, settings, str(path), "a checkpoint of mmdetection decides its settings itself")


def _refuse(settings: Settings, names: Collection[str], what: str, why: str) -> None:
    if found := [name for name in settings if name in names]:
        raise ExportError(f"{what}: {why}; leave {', '.join(found)} out of the settings")
