"""The numbers behind a label map, of a module and of its ONNX file.

A label map is a byte for each pixel: it can be equal where the logits under it are not, and where they are no
numbers at all. So a check needs the logits, on both sides and without their memory: 133 classes of a canvas of
800x1344 are 570 MB, of which a grid of pixels tells as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segopt_export.static.graph import LabelMap

MAX_VALUES = 1 << 22
"""Logits of one batch that are kept."""
_NAME = "logits"


@contextmanager
def kept_logits(graph: nn.Module) -> Iterator[list[NDArray[np.float32]]]:
    """Keep the logits of every call of a module, float32 [B, C, h, w] on a grid; a list that grows.

    It stays empty where the module makes no label map.
    """
    kept: list[NDArray[np.float32]] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        logits = inputs[0]
        step = grid_step(tuple(logits.shape))
        kept.append(logits[:, :, ::step, ::step].to(torch.float32).contiguous().numpy().copy())

    hooks = [m.register_forward_pre_hook(keep) for m in graph.modules() if isinstance(m, LabelMap)]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def grid_step(shape: tuple[int, ...]) -> int:
    """So many pixels lie between two that are kept, of logits [B, C, H, W]."""
    batch, classes, height, width = shape
    step = 1
    while batch * classes * -(-height // step) * -(-width // step) > MAX_VALUES:
        step += 1
    return step


class LogitsOfFile:
    """An ONNX file, run as far as the logits of its label map.

    Args:
        file: with an output ``semantic``.
        shape: of the logits, [B, C, H, W].
    """

    def __init__(self, file: Path, shape: tuple[int, ...]) -> None:
        import onnxruntime

        model = onnx.load(file)
        _end_at_logits(model.graph, grid_step(shape))
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 BGR [B, H, W, 3] -> float32 [B, C, h, w]."""
        (logits,) = self._session.run([_NAME], {"image": image})
        return np.asarray(logits, dtype=np.float32)


def _end_at_logits(graph: onnx.GraphProto, step: int) -> None:
    """Cut a graph where its label map is taken, and put out every ``step``-th pixel of what comes there."""
    makers = {name: node for node in graph.node for name in node.output}
    node = makers["semantic"]
    while node.op_type != "ArgMax":
        node = makers[node.input[0]]
    grid = {"starts": [0, 0], "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [step] * 2}
    constants = [
        onnx.numpy_helper.from_array(np.array(values, dtype=np.int64), f"grid_{name}")
        for name, values in grid.items()
    ]
    ending = [
        onnx.helper.make_node("Slice", [node.input[0], *(c.name for c in constants)], ["grid_of_logits"]),
        onnx.helper.make_node("Cast", ["grid_of_logits"], [_NAME], to=onnx.TensorProto.FLOAT),
    ]
    needed, kept = {node.input[0]}, []
    for earlier in reversed(graph.node):
        if needed.intersection(earlier.output):
            kept.append(earlier)
            needed.update(earlier.input)
    nodes = [*reversed(kept), *ending]
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed] + constants
    output = onnx.helper.make_tensor_value_info(_NAME, onnx.TensorProto.FLOAT, None)
    inputs = [value for value in graph.input if value.name in needed]
    fields = {"node": nodes, "initializer": initializers, "input": inputs, "output": [output]}
    for field, values in fields.items():
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    graph.ClearField("value_info")
