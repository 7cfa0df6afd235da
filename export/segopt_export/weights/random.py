"""Random weights that behave: activations of ordinary size, and many different detections.

A freshly initialized network answers the same everywhere and detects nothing, so it can neither test the parts
behind it nor load them as a trained one does. Here every layer is normalized by what it puts out for a seeded
picture (data-dependent initialization: Salimans and Kingma, "Weight Normalization", 2016, section 3), so that its
answer varies over the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.efficientnet import MBConv
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops.misc import FrozenBatchNorm2d

_RESIDUAL = 0.1
"""Standard deviation of what a residual block adds to its input, whose own is about 1."""

_Norms = (nn.BatchNorm2d, FrozenBatchNorm2d)
_Weighted = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


SPREADS = {
    "rpn.head.cls_logits": 1.0,
    "rpn.head.bbox_pred": 0.2,
    "roi_heads.box_predictor.cls_score": 1.2,
    "roi_heads.box_predictor.bbox_pred": 0.5,
    "roi_heads.mask_predictor.mask_fcn_logits": 2.0,
    "semantic_head.predictor": 2.0,
    "classifier.4": 2.0,
    "classifier.low_classifier": 1.4,
    "classifier.high_classifier": 1.4,
}
"""Standard deviation of the last layers' outputs, by name; that of every other layer is 1."""


def enliven(model: nn.Module, *, seed: int = 0, size: tuple[int, int] = (256, 320)) -> None:
    """Replace a torchvision segmentation network's weights by lively random ones, in place.

    The same seed gives the same weights on the same version of torch.

    Args:
        model: FCN, DeepLabV3, LR-ASPP, Mask R-CNN or Panoptic FPN; left in eval mode.
        seed: of the weights and of the picture.
        size: height and width of the picture that statistics are taken from.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        _initialize(module, generator)
    picture = random_picture(size, generator=generator)
    hooks = [
        module.register_forward_pre_hook(_take_statistics)
        if isinstance(module, _Norms)
        else module.register_forward_hook(_normalize(SPREADS.get(name, 1.0), is_last=name in SPREADS))
        for name, module in model.named_modules()
        if isinstance(module, _Norms) or (isinstance(module, _Weighted) and module.bias is not None)
    ]
    model.eval()
    threads = torch.get_num_threads()
    try:
        # More threads add in another order, and the weights' last bits would depend on the machine's cores.
        torch.set_num_threads(1)
        with torch.no_grad():
            _run(model, picture)
    finally:
        torch.set_num_threads(threads)
        for hook in hooks:
            hook.remove()


def _run(model: Any, picture: Tensor) -> None:
    if hasattr(model, "roi_heads"):
        sizes = model.transform.min_size, model.transform.max_size
        model.transform.min_size, model.transform.max_size = (min(picture.shape[1:]),), max(picture.shape[1:])
        model([picture])
        model.transform.min_size, model.transform.max_size = sizes
    else:
        model((picture[None] - 0.45) / 0.22)


def random_picture(size: tuple[int, int], *, generator: torch.Generator) -> Tensor:
    """A picture with structure at several scales, float32 [3, H, W] in 0..1."""
    picture = torch.zeros(1, 3, *size)
    for cells in (3, 8, 24, 80):
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        picture += F.interpolate(noise, size=size, mode="bicubic", align_corners=False) - 0.5
    return (0.5 + 0.6 * picture[0]).clamp(0, 1)


def _initialize(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, _Weighted):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    # Full residual branches make a random network chaotic: rounding errors of the input grew a thousandfold.
    if isinstance(module, Bottleneck):
        nn.init.constant_(module.bn3.weight, _RESIDUAL)
    if isinstance(module, BasicBlock):
        nn.init.constant_(module.bn2.weight, _RESIDUAL)
    if isinstance(module, (InvertedResidual, MBConv)) and module.use_res_connect:
        nn.init.constant_(module.block[-1][1].weight, _RESIDUAL)


def _take_statistics(norm: Any, inputs: tuple[Tensor, ...]) -> None:
    batch = inputs[0].transpose(0, 1).flatten(1)
    # A layer that sees one pixel has no variance; it keeps its own.
    if batch.shape[1] > 1:
        norm.running_mean.copy_(batch.mean(dim=1))
        norm.running_var.copy_(batch.var(dim=1) + 1e-3)


def _turn_to_what_varies(layer: Any, inputs: Tensor) -> None:
    """Turn a last layer's weights to the directions in which its inputs vary most.

    Trained layers look there. In other directions an input has little but rounding errors, and the answer of a
    network in half precision would be another one.
    """
    by_channel = inputs.transpose(0, 1).flatten(1)
    if by_channel.shape[1] > 1:
        turned = layer.weight.flatten(1) @ torch.cov(by_channel)
        layer.weight.copy_(turned.reshape(layer.weight.shape))


def _normalize(std: float, *, is_last: bool) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    done = False

    def hook(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        nonlocal done
        if done:
            # A head that is shared by the levels of a pyramid is called once for each: the first decides.
            return None
        done = True
        if is_last:
            _turn_to_what_varies(layer, inputs[0])
            output = layer.forward(inputs[0])
        by_channel = output.transpose(0, 1).flatten(1)
        mean = by_channel.mean(dim=1)
        factor = std / by_channel.std(dim=1).clamp(min=1e-6) if by_channel.shape[1] > 1 else torch.ones_like(mean)
        # Weights of a deconvolution have their output channels second.
        out_axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        layer.weight.mul_(factor.reshape([-1 if i == out_axis else 1 for i in range(layer.weight.ndim)]))
        layer.bias.copy_((layer.bias - mean) * factor)
        shape = (1, -1) + (1,) * (output.ndim - 2)
        return (output - mean.reshape(shape)) * factor.reshape(shape)

    return hook
