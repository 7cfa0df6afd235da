"""What a checkpoint of mmdetection says of itself: the configuration and the class names in its ``meta``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from torch import nn

from segopt.errors import ExportError
from segopt.model.card import IMAGENET_MEAN
from segopt_export.networks.families import MMDETECTION_STYLES, DetectorRules, Style, for_panoptic_fusion
from segopt_export.weights.config_text import UNKNOWN, read_config, value_at

PIXEL_STD: Mapping[Style, tuple[float, float, float]] = {
    "pytorch": (58.395, 57.12, 57.375),
    "caffe": (1.0, 1.0, 1.0),
}
"""In the order of the style's channels: RGB, and BGR."""


@dataclass(frozen=True)
class Pixels:
    """How a network takes pixels of 0 to 255, after ImageNet's mean was subtracted."""

    std: tuple[float, ...]
    bgr: bool


def pixels_of_style(style: Style) -> Pixels:
    """As the configurations of a style have it."""
    return Pixels(PIXEL_STD[style], bgr=style == "caffe")


def meta_of(content: object) -> Mapping[Any, Any]:
    """The ``meta`` of a checkpoint; empty where there is none."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def config_of(meta: Mapping[Any, Any]) -> dict[str, Any]:
    """The configuration that a network was trained by, ``cfg`` in version 3 and ``config`` in 2; else empty."""
    text = meta.get("cfg", meta.get("config"))
    config = read_config(text) if isinstance(text, str) else {}
    return config if isinstance(config.get("model"), dict) else {}


def class_names_of(meta: Mapping[Any, Any]) -> list[str]:
    """The names of the classes, background not included; empty where they are not said."""
    inner = meta.get("dataset_meta")
    for holder in (inner if isinstance(inner, Mapping) else {}, meta):
        for key in ("CLASSES", "classes"):
            names = holder.get(key)
            if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
                return list(names)
    return []


def style_of(config: Mapping[str, Any], path: Path) -> Style | None:
    """What the configuration says of the ResNet's style; None where there is no configuration.

    Raises:
        ExportError: there is no such style.
    """
    if not config:
        return None
    style = value_at(config, "model.backbone.style")
    if style is None:
        return "pytorch"
    for known in get_args(Style):
        if style == known:
            found: Style = known
            return found
    raise ExportError(f"{path}: its configuration has a backbone of style {_shown(style)}, not pytorch or caffe")


def pixels_of(config: Mapping[str, Any], path: Path) -> Pixels | None:
    """What the configuration says of pixels; None where it says nothing.

    Raises:
        ExportError: the mean is not ImageNet's.
    """
    given = value_at(config, "model.data_preprocessor") or {}
    rgb = given.get("bgr_to_rgb", False) if isinstance(given, dict) else False
    if not isinstance(given, dict) or "mean" not in given:
        given = value_at(config, "img_norm_cfg") or {}
        rgb = given.get("to_rgb", True) if isinstance(given, dict) else True
    if not isinstance(given, dict) or "mean" not in given:
        return None
    bgr = rgb is False
    mean = [255 * value for value in IMAGENET_MEAN][:: -1 if bgr else 1]
    if not _same(given["mean"], mean):
        raise ExportError(
            f"{path}: its configuration has the pixel mean {_shown(given['mean'])}, and segopt takes ImageNet's, "
            f"{[round(value, 3) for value in mean]} ({'BGR' if bgr else 'RGB'})"
        )
    std = given.get("std")
    if not isinstance(std, list) or len(std) != 3 or not all(_is_number(value) and value > 0 for value in std):
        raise ExportError(f"{path}: its configuration has the pixel deviation {_shown(std)}; give three numbers")
    return Pixels(tuple(float(value) for value in std), bgr)


def rules_for(style: Style, config: Mapping[str, Any], *, panoptic: bool) -> DetectorRules:
    """The rules that a network was trained by, as far as layers and classes decide them."""
    rules = MMDETECTION_STYLES[style]
    if panoptic:
        rules = for_panoptic_fusion(rules)
    agnostic = _test_value(config, "rcnn.nms.class_agnostic")
    return replace(rules, class_agnostic_suppression=agnostic) if isinstance(agnostic, bool) else rules


_EXPECTED: Mapping[str, Any] = {
    "model.neck.type": "FPN",
    "model.neck.num_outs": 5,
    "model.neck.start_level": 0,
    "model.neck.add_extra_convs": False,
    "model.backbone.strides": [1, 2, 2, 2],
    "model.backbone.dilations": [1, 1, 1, 1],
    "model.rpn_head.anchor_generator.type": "AnchorGenerator",
    "model.rpn_head.anchor_generator.scales": [8],
    "model.rpn_head.anchor_generator.ratios": [0.5, 1.0, 2.0],
    "model.rpn_head.anchor_generator.strides": [4, 8, 16, 32, 64],
    "model.rpn_head.anchor_generator.center_offset": 0,
    "model.rpn_head.anchor_scales": [8],
    "model.rpn_head.anchor_ratios": [0.5, 1.0, 2.0],
    "model.rpn_head.anchor_strides": [4, 8, 16, 32, 64],
    "model.rpn_head.loss_cls.use_sigmoid": True,
    **{
        f"model.{head}.{coder}{key}": value
        for head, std in (("rpn_head", [1, 1, 1, 1]), ("roi_head.bbox_head", [0.1, 0.1, 0.2, 0.2]))
        for coder in ("", "bbox_coder.")
        for key, value in (("target_means", [0, 0, 0, 0]), ("target_stds", std))
    },
    "model.rpn_head.bbox_coder.type": "DeltaXYWHBBoxCoder",
    "model.roi_head.bbox_head.bbox_coder.type": "DeltaXYWHBBoxCoder",
    **{
        f"model.roi_head.{branch}_roi_extractor.{key}": value
        for branch, side in (("bbox", 7), ("mask", 14))
        for key, value in (
            ("type", "SingleRoIExtractor"),
            ("featmap_strides", [4, 8, 16, 32]),
            ("finest_scale", 56),
            ("roi_layer.type", "RoIAlign"),
            ("roi_layer.output_size", side),
            ("roi_layer.out_size", side),
            ("roi_layer.sampling_ratio", 0),
            ("roi_layer.sample_num", 0),
            ("roi_layer.aligned", True),
            ("roi_layer.pool_mode", "avg"),
        )
    },
    **{
        f"{where}test_cfg.{key}": value
        for where in ("model.", "")
        for key, value in (
            ("rpn.nms.type", "nms"),
            ("rpn.nms_across_levels", False),
            ("rpn.min_bbox_size", 0),
            ("rcnn.nms.type", "nms"),
            ("rcnn.mask_thr_binary", 0.5),
        )
    },
}
"""What every configuration of the zoo's Mask R-CNN and Panoptic FPN has, under the names of versions 2 and 3."""


def check_config(config: Mapping[str, Any], path: Path) -> None:
    """Hold a configuration against what the network here does.

    Raises:
        ExportError: names the first value that differs.
    """
    for where, expected in _EXPECTED.items():
        value = value_at(config, where)
        if value is not None and not _same(value, expected):
            raise ExportError(
                f"{path}: its configuration has {where} = {_shown(value)}, and segopt takes mmdetection's "
                f"networks with {_shown(expected)}"
            )


def apply_config(model: Any, config: Mapping[str, Any], path: Path) -> None:
    """Give a network the thresholds and counts of its configuration, in place.

    Raises:
        ExportError: one of them is no such number.
    """
    for names, what, part, attribute in _NUMBERS:
        for name in names:
            value = _test_value(config, name)
            if value is None:
                continue
            if not _is_number(value) or not _LIMITS[what][0] <= value <= _LIMITS[what][1]:
                raise ExportError(f"{path}: its configuration has test_cfg.{name} = {_shown(value)}, no {what}")
            owner: nn.Module = getattr(model, part)
            number = float(value) if what == "share" else int(value)
            old = getattr(owner, attribute)
            setattr(owner, attribute, {**old, "testing": number} if isinstance(old, dict) else number)
            break


_NUMBERS = (
    (("rpn.nms_pre",), "count", "rpn", "_pre_nms_top_n"),
    (("rpn.max_per_img", "rpn.max_num"), "count", "rpn", "_post_nms_top_n"),
    (("rpn.nms.iou_threshold", "rpn.nms.iou_thr", "rpn.nms_thr"), "share", "rpn", "nms_thresh"),
    (("rcnn.score_thr",), "share", "roi_heads", "score_thresh"),
    (("rcnn.nms.iou_threshold", "rcnn.nms.iou_thr"), "share", "roi_heads", "nms_thresh"),
    (("rcnn.max_per_img",), "count", "roi_heads", "detections_per_img"),
)
"""Names in ``test_cfg``, newest first; and what of torchvision's parts they are."""
_LIMITS = {"share": (0, 1), "count": (1, 100_000)}


def _test_value(config: Mapping[str, Any], name: str) -> Any:
    values = (value_at(config, f"{where}test_cfg.{name}") for where in ("model.", ""))
    return next((value for value in values if value is not None), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(value: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(_same, value, expected))
    if _is_number(expected):
        return _is_number(value) and abs(value - expected) < 1e-3
    return type(value) is type(expected) and bool(value == expected)


def _shown(value: Any) -> str:
    return "something computed" if value is UNKNOWN else repr(value)[:60]
