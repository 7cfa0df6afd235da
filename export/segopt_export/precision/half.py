"""Half precision: the layers that multiply by trained weights compute in it, all geometry stays in single.

A layer in half takes its input in half and puts out half; what lies between layers (ReLU, sums, resizing, pooling)
follows its inputs, and a sum of a half and a single is single. So a layer that is kept in single precision costs
two casts and nothing else changes. The stages around the network (proposals, detections, RoIAlign, sigmoids) take
whatever the layers put out and go on in single precision.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from segopt_export.precision.calibration import LAYERS, LayerCall, measure_ranges
from segopt_export.precision.norm_folding import fold_norms

_Module = TypeVar("_Module", bound=nn.Module)

MAX_VALUE = 65504 / 8
"""Largest activation that a layer in half may see. Half ends at 65504; the eighth leaves room for other pictures,
for sums of a few such values, and for HardSwish, which multiplies by 6 before it divides by it."""
MIN_VALUE = 2.0**-14
"""A tensor whose largest value is below half's smallest normal number has fewer bits than half promises."""
MAX_WEIGHT_ERROR = 1e-3
"""Largest relative error (of the root mean square) that rounding may make in a layer's weights; 2e-4 is usual.
Overflow makes it infinite, and weights below half's normal numbers make it large."""

_IN_SINGLE = (nn.AdaptiveAvgPool2d, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, FrozenBatchNorm2d)
"""Modules that sum over many pixels, where a half would overflow: they compute in single precision. Batch norms
are among them only where :func:`segopt_export.precision.norm_folding.fold_norms` found no convolution for them."""


def in_half(graph: _Module, images: Iterable[Tensor]) -> tuple[_Module, dict[str, str]]:
    """A copy of a static graph that computes in half precision wherever half can hold its values.

    Args:
        graph: in single precision and eval mode; left as it is.
        images: uint8 BGR [B, H, W, 3], on which the values are looked at.

    Returns:
        The copy; and the layers that stay in single precision, name to reason.
    """
    graph = copy.deepcopy(graph)
    fold_norms(graph)
    beyond = layers_beyond_half(graph, measure_ranges(graph, images))
    convert_to_half(graph, keep=beyond)
    return graph, beyond


def layers_beyond_half(graph: nn.Module, calls: Sequence[LayerCall]) -> dict[str, str]:
    """Layers that half precision cannot hold.

    A layer whose input is beyond the bound was given it by the one that ran before (a residual sum is of half
    values only if all its terms are), so that one is kept in single precision, too.

    Args:
        graph: with its batch norms folded.
        calls: of its layers, from :func:`segopt_export.precision.calibration.measure_ranges`.

    Returns:
        Name of each such layer in the order in which they run, and the reason.
    """
    beyond: dict[str, str] = {}
    for before, call in zip([None, *calls], calls, strict=False):
        if not _fits(call.largest_input):
            if before is not None:
                beyond.setdefault(before.layer, f"leads to values up to {call.largest_input:.3g}")
            beyond.setdefault(call.layer, f"reads values up to {call.largest_input:.3g}")
        if not _fits(call.largest_output):
            beyond.setdefault(call.layer, f"puts out values up to {call.largest_output:.3g}")
    for name, layer in _layers(graph).items():
        if not _can_be_rounded(layer):
            beyond.setdefault(name, f"has weights up to {float(layer.weight.detach().abs().max()):.3g}")
    return beyond


def convert_to_half(graph: nn.Module, *, keep: Collection[str] = ()) -> None:
    """Make the layers of a static graph compute in half precision, in place.

    Args:
        graph: with its batch norms folded.
        keep: names of the layers that stay in single precision.
    """
    for name, layer in _layers(graph).items():
        if name not in keep:
            layer.half()
        layer.register_forward_pre_hook(_as_the_weights_are)
    for module in graph.modules():
        if isinstance(module, _IN_SINGLE):
            module.register_forward_pre_hook(_in_single)
            if isinstance(module, nn.GroupNorm) and not keep:
                # What follows it, at the finest level's size, would run in single precision up to the next layer.
                module.register_forward_hook(_back_in_half)


def _layers(graph: nn.Module) -> Mapping[str, Any]:
    return {name: module for name, module in graph.named_modules() if isinstance(module, LAYERS)}


def _fits(value: float) -> bool:
    return value == 0 or MIN_VALUE <= value <= MAX_VALUE


def _can_be_rounded(layer: Any) -> bool:
    weight, bias = layer.weight.detach(), layer.bias
    error = (weight.half().to(torch.float32) - weight).norm() / weight.norm().clamp(min=1e-30)
    return bool(error <= MAX_WEIGHT_ERROR) and (bias is None or bool(bias.abs().max() <= MAX_VALUE))


def _as_the_weights_are(layer: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].to(layer.weight.dtype), *inputs[1:])


def _in_single(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # noqa: ARG001
    return (inputs[0].to(torch.float32), *inputs[1:])


def _back_in_half(_: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.half()
