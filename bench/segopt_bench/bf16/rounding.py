"""A network whose layers see and give bf16 numbers, computed in single precision."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from segopt_export.precision.calibration import LAYERS
from segopt_export.precision.norm_folding import fold_norms
from segopt_export.static.graph import SegmentationGraph


def to_bf16(values: Tensor) -> Tensor:
    """Rounded to bf16, in single precision."""
    return values.to(torch.bfloat16).to(torch.float32)


def rounded(graph: SegmentationGraph) -> SegmentationGraph:
    """A copy of a static graph in which each layer's weights, inputs and outputs are rounded to bf16.

    This is what a CPU with bf16 does with an FP16 file that has bf16 in the place of half: products of bf16
    numbers, summed in single precision, and a result in bf16. Geometry stays in single precision, as in that file.
    What lies between layers (a sum of a shortcut, resizing) is rounded where the next layer reads it.
    """
    graph = copy.deepcopy(graph)
    fold_norms(graph)
    for layer in graph.modules():
        if isinstance(layer, LAYERS):
            with torch.no_grad():
                layer.weight.copy_(to_bf16(layer.weight))
                if layer.bias is not None:
                    layer.bias.copy_(to_bf16(layer.bias))
            layer.register_forward_pre_hook(_round_input)
            layer.register_forward_hook(_round_output)
    return graph


def _round_input(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (to_bf16(inputs[0]), *inputs[1:])


def _round_output(_: Any, _inputs: Any, output: Tensor) -> Tensor:
    return to_bf16(output)
