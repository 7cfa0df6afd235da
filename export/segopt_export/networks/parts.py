"""Which parts of torchvision's detectors a static graph can carry, and what a network of the user's own answers.

A static forward runs torchvision's algorithm around the network's own layers. A part that goes about it in its own
way would be left out of it in silence, so it is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from segopt.errors import ExportError
from segopt_export.networks.adaptive_roi_pool import AdaptiveRoIPool
from segopt_export.networks.panoptic_fpn import PanopticFPN

Size = tuple[int, int]

MASK_SIDE = 28
"""Of the masks that the runtime pastes, in cells."""

_PARTS: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "transform": (GeneralizedRCNNTransform, ("forward", "normalize", "resize", "batch_images", "postprocess")),
    "rpn": (RegionProposalNetwork, ("forward", "filter_proposals", "_get_top_n_idx")),
    "rpn.box_coder": (BoxCoder, ("decode", "decode_single")),
    "roi_heads": (RoIHeads, ("forward", "postprocess_detections", "has_mask")),
    "roi_heads.box_coder": (BoxCoder, ("decode", "decode_single")),
    "roi_heads.box_roi_pool": (MultiScaleRoIAlign, ("forward",)),
    "roi_heads.mask_roi_pool": (MultiScaleRoIAlign, ("forward",)),
}
"""Parts whose work the static forward does in their place: their class, and its methods that must be its own."""


def levels_of(features: Tensor | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A backbone's feature maps by name; a single one is level ``0``, as in ``GeneralizedRCNN.forward``."""
    return {"0": features} if isinstance(features, Tensor) else features


def feature_sizes(backbone: nn.Module, canvas: Size) -> dict[str, Size]:
    """Height and width of each feature map, found without computing any."""
    features = _shape_run(backbone, torch.empty(1, 3, *canvas))
    return {name: (int(level.shape[-2]), int(level.shape[-1])) for name, level in levels_of(features).items()}


def pooled_levels(pool: MultiScaleRoIAlign, sizes: Mapping[str, Size], canvas: Size) -> list[str]:
    """Names of the levels that a pooler reads, in the backbone's order.

    Args:
        pool: the network's own.
        sizes: height and width of each of the backbone's feature maps.
        canvas: height and width in pixels.
    """
    names = [name for name in sizes if name in pool.featmap_names]
    return names[: _reachable(_stride_exponents(names, sizes, canvas))]


def _stride_exponents(names: Sequence[str], sizes: Mapping[str, Size], canvas: Size) -> list[int]:
    """Binary logarithms of levels' strides, as torchvision's ``_infer_scale`` finds them."""
    return [round(math.log2(canvas[0] / sizes[name][0])) for name in names]


def _reachable(exponents: Sequence[int]) -> int:
    """How many levels torchvision's ``LevelMapper`` can send a box to: from its first stride to its last one.

    The pyramid of ``fasterrcnn_mobilenet_v3_large_fpn`` has two of stride 32, and the second is never read.
    """
    return exponents[-1] - exponents[0] + 1 if exponents else 0


def check_detector(model: nn.Module, name: str, canvas: Size) -> None:
    """Refuse a detector with a part that a static graph cannot carry.

    Args:
        model: of the user's own.
        name: of the network, for messages.
        canvas: height and width in pixels.

    Raises:
        ExportError: names the part.
    """
    inside = _detector_inside(model)
    if not isinstance(model, (GeneralizedRCNN, PanopticFPN)):
        hint = f"; give its part {inside}" if inside else ""
        raise ExportError(f"{name}: is a {_kind(model)}, no MaskRCNN of torchvision{hint}")
    if isinstance(model, GeneralizedRCNN) and type(model).forward is not GeneralizedRCNN.forward:
        raise _refused(name, "forward", f"is that of {_kind(model)}, not of torchvision's GeneralizedRCNN")
    heads: Any = model.roi_heads
    if getattr(heads, "keypoint_predictor", None) is not None:
        raise _refused(name, "roi_heads.keypoint_predictor", "finds keypoints, which no result of segopt holds")
    if getattr(heads, "mask_predictor", None) is None:
        raise _refused(name, "roi_heads.mask_predictor", "is missing: a detector of boxes alone has no masks")
    for path, (base, methods) in _PARTS.items():
        part = _at(model, path)
        if isinstance(part, AdaptiveRoIPool):
            continue
        own = [m for m in methods if getattr(type(part), m, None) is not getattr(base, m)]
        if not isinstance(part, base) or own:
            what = f", with its own {own[0]}" if isinstance(part, base) else ""
            raise _refused(name, path, f"is a {_kind(part)}{what}, not torchvision's {base.__name__}")
    _check_pools(heads, name, feature_sizes(model.backbone, canvas), canvas)


def count_detector_classes(model: Any, name: str, canvas: Size) -> int:
    """How many classes a detector tells apart, background included.

    Raises:
        ExportError: its heads do not answer as torchvision's do.
    """
    heads = model.roi_heads
    features = levels_of(_shape_run(model.backbone, torch.empty(1, 3, *canvas)))
    channels = next(iter(features.values())).shape[1]

    def run(pooled: Tensor, pooled_for_masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        return logits, deltas, heads.mask_predictor(heads.mask_head(pooled_for_masks))

    box, mask = (torch.empty(2, channels, *p.output_size) for p in (heads.box_roi_pool, heads.mask_roi_pool))
    try:
        logits, deltas, masks = _shape_run(run, box, mask)
        classes = int(logits.shape[1])
        fits = deltas.shape[1] == 4 * classes and masks.shape[1] == classes
    except Exception as error:
        raise _refused(name, "roi_heads", f"does not fit together ({_first_line(error)})") from None
    if not fits:
        raise _refused(
            name,
            "roi_heads",
            f"answers {classes} classes, {deltas.shape[1]} box offsets and {masks.shape[1]} masks for each box; "
            "a static graph needs 4 offsets and a mask for each class",
        )
    if tuple(masks.shape[2:]) != (MASK_SIDE, MASK_SIDE):
        raise _refused(
            name,
            "roi_heads.mask_predictor",
            f"answers masks of {masks.shape[2]}x{masks.shape[3]}; the runtime takes {MASK_SIDE}x{MASK_SIDE}",
        )
    return classes


def count_semantic_classes(model: nn.Module, name: str, canvas: Size) -> int:
    """How many classes a semantic network tells apart.

    Raises:
        ExportError: it does not answer logits at the resolution of its input.
    """
    try:
        logits = logits_of(_shape_run(model, torch.empty(1, 3, *canvas)))
    except TypeError as error:
        raise ExportError(f"{name}: {error}") from None
    except Exception as error:
        raise ExportError(
            f"{name}: fails on a picture, float32 [1, 3, {canvas[0]}, {canvas[1]}]: {_first_line(error)}"
        ) from None
    if logits.ndim != 4 or tuple(logits.shape[2:]) != canvas:
        raise ExportError(
            f"{name}: answers {list(logits.shape)} for a picture [1, 3, {canvas[0]}, {canvas[1]}]; a semantic "
            "network answers logits [B, C, H, W] at the picture's own resolution (F.interpolate in its forward)"
        )
    return int(logits.shape[1])


def logits_of(answer: Any) -> Tensor:
    """Logits [B, C, H, W] out of what a semantic network answers: themselves, or under ``out``.

    Raises:
        TypeError: there are none.
    """
    logits = answer.get("out") if isinstance(answer, Mapping) else answer
    if not isinstance(logits, Tensor):
        kind = f"a {_kind(answer)} without `out`" if isinstance(answer, Mapping) else f"a {_kind(answer)}"
        raise TypeError(
            f"answers {kind}; a semantic network answers logits [B, C, H, W], or a dict with them as `out`"
        )
    return logits


def _check_pools(heads: Any, name: str, sizes: Mapping[str, Size], canvas: Size) -> None:
    for path in ("box_roi_pool", "mask_roi_pool"):
        pool = getattr(heads, path)
        where = f"roi_heads.{path}"
        if pool.output_size[0] != pool.output_size[1]:
            raise _refused(name, where, f"has an output of {pool.output_size}, which is no square")
        if pool.sampling_ratio < 1 and not isinstance(pool, AdaptiveRoIPool):
            raise _refused(
                name, where, f"has a sampling_ratio of {pool.sampling_ratio}: as many samples as a box is large"
            )
        levels = [level for level in sizes if level in pool.featmap_names]
        if not levels:
            raise _refused(name, where, f"pools levels {pool.featmap_names}, and the backbone has {list(sizes)}")
        strides = _stride_exponents(levels, sizes, canvas)
        if strides[: _reachable(strides)] != list(range(strides[0], strides[-1] + 1)):
            shown = ", ".join(str(2**k) for k in strides)
            raise _refused(
                name, where, f"pools levels of strides {shown}, which do not double from one to the next"
            )


def _shape_run(module: Any, *inputs: Tensor) -> Any:
    """Run a module for the shapes of its answer, without computing it."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        return module(*(mode.from_tensor(i) for i in inputs))


def _detector_inside(model: nn.Module) -> str | None:
    """Name of the part of a wrapper that is a Mask R-CNN."""
    return next((path for path, part in model.named_modules() if path and isinstance(part, GeneralizedRCNN)), None)


def _at(model: Any, path: str) -> Any:
    for step in path.split("."):
        model = getattr(model, step)
    return model


def _kind(value: object) -> str:
    return type(value).__name__


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _refused(name: str, part: str, why: str) -> ExportError:
    return ExportError(f"{name}: its {part} {why}; a static graph cannot carry it")
