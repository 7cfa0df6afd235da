"""Random weights that behave: activations of ordinary size, and many detections.

A freshly initialised network answers the same everywhere and detects nothing, so it can neither test the parts
behind it nor load them as a trained one does. Here the normalisation statistics are taken from a seeded picture
and the last layers are scaled until objects and classes vary over it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops.misc import FrozenBatchNorm2d

_Norms = (nn.BatchNorm2d, FrozenBatchNorm2d)


@dataclass(frozen=True)
class Spread:
    """Wanted standard deviation of a last layer's output."""

    layer: str
    std: float


SPREADS = (
    Spread("rpn.head.cls_logits", 2.0),
    Spread("rpn.head.bbox_pred", 0.2),
    Spread("roi_heads.box_predictor.cls_score", 2.0),
    Spread("roi_heads.box_predictor.bbox_pred", 0.5),
    Spread("roi_heads.mask_predictor.mask_fcn_logits", 2.0),
    Spread("classifier.4", 2.0),
    Spread("classifier.high_classifier", 2.0),
    Spread("classifier.low_classifier", 1.0),
)


def enliven(model: nn.Module, *, seed: int = 0, size: tuple[int, int] = (256, 320)) -> None:
    """Replace a torchvision segmentation network's weights by lively random ones, in place.

    The same seed gives the same weights on the same version of torch.

    Args:
        model: FCN, DeepLabV3, LR-ASPP or Mask R-CNN; left in eval mode.
        seed: of the weights and of the picture.
        size: height and width of the picture that statistics are taken from.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        _initialise(module, generator)
    picture = random_picture(size, generator=generator)
    layers = dict(model.named_modules())
    hooks = [
        norm.register_forward_pre_hook(_take_statistics) for norm in layers.values() if isinstance(norm, _Norms)
    ]
    hooks += [
        layers[spread.layer].register_forward_hook(_scale_output(spread.std))
        for spread in SPREADS
        if spread.layer in layers
    ]
    model.eval()
    try:
        with torch.no_grad():
            # Detectors take a list of pictures, semantic networks a normalised batch.
            model([picture]) if hasattr(model, "roi_heads") else model((picture[None] - 0.45) / 0.22)
    finally:
        for hook in hooks:
            hook.remove()


def random_picture(size: tuple[int, int], *, generator: torch.Generator) -> Tensor:
    """A picture with structure at several scales, float32 [3, H, W] in 0..1."""
    picture = torch.zeros(1, 3, *size)
    for cells in (3, 8, 24, 80):
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        picture += F.interpolate(noise, size=size, mode="bicubic", align_corners=False) - 0.5
    return (0.5 + 0.6 * picture[0]).clamp(0, 1)


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _take_statistics(norm: Any, inputs: tuple[Tensor, ...]) -> None:
    batch = inputs[0].transpose(0, 1).flatten(1)
    # A layer that sees one pixel has no variance; it keeps its own.
    if batch.shape[1] > 1:
        norm.running_mean.copy_(batch.mean(dim=1))
        norm.running_var.copy_(batch.var(dim=1) + 1e-3)


def _scale_output(std: float) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:  # noqa: ARG001
        factor = std / output.std().clamp(min=1e-6)
        layer.weight.mul_(factor)
        return output * factor

    return hook
