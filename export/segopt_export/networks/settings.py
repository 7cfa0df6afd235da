"""What a detector does and its weights do not hold: anchors, thresholds, normalization, in torchvision's words.

A state dict is tensors alone. The same tensors with other anchors or another mean are another network, so what is
not in them is read from the live model (:func:`settings_of`), kept as JSON, and given back to the network before
it gets its weights (:func:`apply_settings`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from segopt_export.networks import setting_values as values
from segopt_export.networks.adaptive_roi_pool import AdaptiveRoIPool
from segopt_export.networks.maskrcnn_resnet import ExactAnchorGenerator

Settings = Mapping[str, Any]
"""By name, those that are said; values as :data:`SETTINGS` parses them."""


@dataclass(frozen=True)
class Setting:
    """One setting of a detector."""

    parse: Callable[[Any], Any]
    """From JSON to the value; raises a ValueError that says what it must be."""
    read: Callable[[Any], Any]
    """From a live detector; None where it has no such thing."""
    write: Callable[[Any, Any], None]
    """Into a live detector; raises a ValueError where it cannot take the value."""


def settings_of(model: nn.Module) -> dict[str, Any]:
    """The settings of a live detector of torchvision, to be kept as JSON beside its weights.

    ``json.dump(settings_of(model), open("model.json", "w"))`` makes the file that ``segopt export --settings``
    takes.

    Args:
        model: a ``MaskRCNN``, or any network with its ``transform``, ``rpn`` and ``roi_heads``.

    Raises:
        ValueError: the model is no such detector.
    """
    if not is_detector(model):
        raise ValueError(
            f"{type(model).__name__} is no detector of torchvision, and others do not hold their settings; "
            'of a semantic network write {"image_mean": [R, G, B], "image_std": [R, G, B]}, of pixels from 0 to 1'
        )
    read = {name: setting.read(model) for name, setting in SETTINGS.items()}
    return {name: values.to_json(value) for name, value in read.items() if value is not None}


def is_detector(model: nn.Module) -> bool:
    """Whether a module has the parts of torchvision's detectors."""
    return all(hasattr(model, part) for part in ("transform", "rpn", "roi_heads"))


def apply_settings(model: Any, settings: Settings, *, has_weights: bool) -> None:
    """Give a network its settings, in place.

    Args:
        model: a detector; a semantic network has nothing that could take them.
        settings: those to be changed.
        has_weights: whether it has its weights already, so that no layer may change its shape.

    Raises:
        ValueError: the network cannot take one of them.
    """
    if not is_detector(model):
        return
    shapes, bins = _shapes(model), getattr(model.roi_heads.box_roi_pool, "output_size", ())
    for name, setting in SETTINGS.items():
        if name in settings:
            try:
                setting.write(model, settings[name])
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
    if "anchor_sizes" in settings or "aspect_ratios" in settings:
        _fit_rpn_head(model)
    if bins and model.roi_heads.box_roi_pool.output_size != bins:
        _fit_box_head(model, bins)
    changed = [name for name, shape in _shapes(model).items() if shapes[name] != shape] if has_weights else []
    if changed:
        raise ValueError(f"do not fit {changed[0]}, which has its weights already")


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _fit_rpn_head(model: Any) -> None:
    """Give the RPN as many outputs as there are anchors at a place."""
    counts = sorted(set(model.rpn.anchor_generator.num_anchors_per_location()))
    if len(counts) > 1:
        raise ValueError(
            "anchor_sizes and aspect_ratios make "
            f"{' and '.join(map(str, counts))} anchors at a place; give as many on every level"
        )
    head = model.rpn.head
    if type(head) is RPNHead and head.cls_logits.out_channels != counts[0]:
        model.rpn.head = RPNHead(head.cls_logits.in_channels, counts[0], conv_depth=len(head.conv))


def _fit_box_head(model: Any, bins: Sequence[int]) -> None:
    """Give the box head's first fully connected layer as many inputs as a pooled box has values."""
    heads = model.roi_heads
    for parent in heads.box_head.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Linear):
                channels = layer.in_features // math.prod(bins)
                inputs = channels * math.prod(heads.box_roi_pool.output_size)
                setattr(parent, name, nn.Linear(inputs, layer.out_features))
                return


def _write_anchors(model: Any, sizes: Any, ratios: Any) -> None:
    old = model.rpn.anchor_generator
    if type(old) not in (AnchorGenerator, ExactAnchorGenerator):
        raise ValueError(f"cannot be given to a {type(old).__name__}")
    if len(ratios) == 1:
        ratios = ratios * len(old.sizes)
    for what, given in (("sizes", sizes), ("ratios", ratios)):
        if len(given) != len(old.sizes):
            raise ValueError(f"has {what} for {len(given)} levels, and the network has {len(old.sizes)}")
    model.rpn.anchor_generator = type(old)(sizes, ratios)


def _read_anchors(name: str) -> Callable[[Any], Any]:
    def read(model: Any) -> Any:
        levels = getattr(model.rpn.anchor_generator, name, None)
        return None if levels is None else tuple(tuple(level) for level in levels)

    return read


def _pool(name: str) -> Setting:
    def read(model: Any) -> Any:
        pool = getattr(model.roi_heads, name)
        if not isinstance(pool, MultiScaleRoIAlign):
            return None
        square = pool.output_size[0] if len(set(pool.output_size)) == 1 else pool.output_size
        return {
            "featmap_names": tuple(pool.featmap_names),
            "output_size": square,
            "sampling_ratio": pool.sampling_ratio,
            "canonical_scale": pool.canonical_scale,
            "canonical_level": pool.canonical_level,
        }

    def write(model: Any, given: Any) -> None:
        old, now = getattr(model.roi_heads, name), read(model)
        if now is None:
            raise ValueError(f"cannot be given to a {type(old).__name__}")
        wanted = {**now, **given}
        names, size, ratio = (wanted.pop(key) for key in ("featmap_names", "output_size", "sampling_ratio"))
        if isinstance(old, AdaptiveRoIPool):
            if ratio != 0:
                raise ValueError("has a sampling_ratio, and Detectron2's RoIAlign samples each cell; leave it out")
            new: nn.Module = AdaptiveRoIPool(names, size, finest_level=old.finest_level, **wanted)
        else:
            if ratio < 1:
                raise ValueError("has a sampling_ratio of 0, which a static graph cannot follow; give 1 to 8")
            new = MultiScaleRoIAlign(list(names), size, ratio, **wanted)
        setattr(model.roi_heads, name, new)

    return Setting(values.pool, read, write)


def _top_n(name: str) -> Setting:
    def read(model: Any) -> Any:
        return getattr(model.rpn, name)["testing"]

    def write(model: Any, count: int) -> None:
        setattr(model.rpn, name, {**getattr(model.rpn, name), "testing": count})

    return Setting(values.proposals, read, write)


def _attribute(part: str, name: str, parse: Callable[[Any], Any]) -> Setting:
    def owner(model: Any) -> Any:
        for step in part.split("."):
            model = getattr(model, step)
        return model

    return Setting(
        parse, lambda model: getattr(owner(model), name), lambda model, v: setattr(owner(model), name, v)
    )


def _frozen_norms(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, FrozenBatchNorm2d)]


def _write_eps(model: nn.Module, eps: float) -> None:
    for norm in _frozen_norms(model):
        norm.eps = eps


SETTINGS: Mapping[str, Setting] = {
    "anchor_sizes": Setting(
        values.sizes,
        _read_anchors("sizes"),
        lambda model, sizes: _write_anchors(model, sizes, _read_anchors("aspect_ratios")(model)),
    ),
    "aspect_ratios": Setting(
        values.ratios,
        _read_anchors("aspect_ratios"),
        lambda model, ratios: _write_anchors(model, _read_anchors("sizes")(model), ratios),
    ),
    "rpn_pre_nms_top_n_test": _top_n("_pre_nms_top_n"),
    "rpn_post_nms_top_n_test": _top_n("_post_nms_top_n"),
    "rpn_nms_thresh": _attribute("rpn", "nms_thresh", values.fraction),
    "rpn_score_thresh": _attribute("rpn", "score_thresh", values.fraction),
    "box_score_thresh": _attribute("roi_heads", "score_thresh", values.fraction),
    "box_nms_thresh": _attribute("roi_heads", "nms_thresh", values.fraction),
    "box_detections_per_img": _attribute("roi_heads", "detections_per_img", values.count),
    "bbox_reg_weights": _attribute("roi_heads.box_coder", "weights", values.reg_weights),
    "box_roi_pool": _pool("box_roi_pool"),
    "mask_roi_pool": _pool("mask_roi_pool"),
    "image_mean": _attribute("transform", "image_mean", values.mean),
    "image_std": _attribute("transform", "image_std", values.std),
    "min_size": _attribute("transform", "min_size", values.min_size),
    "max_size": _attribute("transform", "max_size", values.side),
    "frozen_norm_eps": Setting(
        values.eps, lambda model: next((norm.eps for norm in _frozen_norms(model)), None), _write_eps
    ),
}
"""In the order in which they are told. The names are those of ``MaskRCNN``'s arguments; anchors' those of
``AnchorGenerator``'s."""

OF_ANY_NETWORK = ("image_mean", "image_std")
"""What semantic networks have, too."""

QUERY_SETTINGS: Mapping[str, Callable[[Any], Any]] = {
    "image_mean": values.mean,
    "image_std": values.std,
    "query_score": values.fraction,
    "mask_share": values.fraction,
}
"""What query networks have, and how it is parsed: see :class:`segopt.model.card.Card` for the thresholds."""
