"""A network of another maker in half precision, with ONNX Runtime's converter.

What multiplies by weights computes in half, and what lies between follows. These stay in single precision: sums
over many values (norms, softmax), the coordinates that features are sampled at, what comes after the last layers
(scores, boxes, logits), and whatever half cannot hold on the pictures that are looked at.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from segopt.errors import ExportError, first_line
from segopt_export.onnx_file.session import cpu_session
from segopt_export.precision.layers import LAYERS, with_names

MAX_VALUE = 65504 / 8
"""Largest value that a layer in half may see; half ends at 65504, and other pictures may hold larger ones."""
_SINGLE = (
    *("ArgMax", "CumSum", "Exp", "GlobalAveragePool", "GridSample", "GroupNormalization", "InstanceNormalization"),
    *("LayerNormalization", "Log", "LogSoftmax", "Pow", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare"),
    *("Reciprocal", "Softmax", "Sqrt"),
)
"""Operators that sum many values, or whose results half has too few bits for."""


def in_half(model: ModelProto, pictures: Sequence[dict[str, NDArray[Any]]]) -> tuple[ModelProto, list[str]]:
    """A copy of a network in half precision; its inputs and outputs keep their types.

    Args:
        model: static, in single precision, with the types of all tensors.
        pictures: inputs by name, on which its values are looked at.

    Returns:
        The copy, and the names of the layers that stay in single precision since half cannot hold their values.

    Raises:
        ExportError: ONNX Runtime's converter fails.
    """
    model = with_names(model)
    types = {
        value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)
    }
    floats = [
        node for node in model.graph.node if any(types.get(name) == TensorProto.FLOAT for name in node.output)
    ]
    largest = _largest(model, [node.output[0] for node in floats], pictures)
    beyond = _beyond(floats, largest)
    kept = {node.name for node in _after_last_layers(model)} | beyond
    try:
        # It warns of each constant that it cuts to half's range, and prints.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            half = convert_float_to_float16(
                model,
                keep_io_types=True,
                op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_SINGLE],
                node_block_list=sorted(kept),
            )
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime's converter to half precision fails on this network ({first_line(error)}); leave it in "
            "fp32"
        ) from None
    _without_round_trips(half)
    _sort(half)
    layers = {node.name for node in model.graph.node if node.op_type in LAYERS}
    return half, sorted(beyond & layers)


def _without_round_trips(model: ModelProto) -> None:
    """Take out casts from single to half and back to single.

    The converter has one between any two nodes that it leaves in single precision, so that coordinates and scores
    would be rounded at each of their steps.
    """
    to_half = {node.output[0]: node.input[0] for node in _casts(model, TensorProto.FLOAT16)}
    back = {
        node.output[0]: to_half[node.input[0]]
        for node in _casts(model, TensorProto.FLOAT)
        if node.input[0] in to_half
    }
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        node.input[:] = [back.get(name, name) for name in node.input]
    # An answer keeps its name: the cast back to single becomes one from single to single, which is nothing.
    for node in model.graph.node:
        if node.op_type == "Cast" and node.output[0] in outputs and node.input[0] in to_half:
            node.input[0] = to_half[node.input[0]]
    while True:
        read = outputs | {name for node in model.graph.node for name in node.input}
        live = [node for node in model.graph.node if node.op_type != "Cast" or node.output[0] in read]
        if len(live) == len(model.graph.node):
            return
        copies = [NodeProto.FromString(node.SerializeToString()) for node in live]
        del model.graph.node[:]
        model.graph.node.extend(copies)


def _casts(model: ModelProto, type_: int) -> Iterator[NodeProto]:
    for node in model.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i == type_:
            yield node


def _sort(model: ModelProto) -> None:
    """Put nodes into an order that runs: the converter appends its casts."""
    makers = {name: index for index, node in enumerate(model.graph.node) for name in node.output}
    before = {
        index: {makers[name] for name in node.input if name in makers}
        for index, node in enumerate(model.graph.node)
    }
    nodes = [model.graph.node[index] for index in TopologicalSorter(before).static_order()]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _after_last_layers(model: ModelProto) -> Iterable[NodeProto]:
    """Nodes from which no layer is reached before an answer, or before the place that features are read at."""
    makers = {name: node for node in model.graph.node for name in node.output}
    front = [value.name for value in model.graph.output]
    front += [node.input[1] for node in model.graph.node if node.op_type == "GridSample"]
    seen: set[str] = set()
    while front:
        node = makers.get(front.pop())
        if node is None or node.name in seen or node.op_type in LAYERS:
            continue
        seen.add(node.name)
        yield node
        front += node.input


def _beyond(nodes: Sequence[NodeProto], largest: dict[str, float]) -> set[str]:
    """Names of the nodes that read or put out values beyond half's range, or numbers that are none."""
    out_of_range = {name for name, value in largest.items() if not value <= MAX_VALUE}
    return {node.name for node in nodes if out_of_range & {*node.input, *node.output}}


def _largest(
    model: ModelProto, tensors: Sequence[str], pictures: Sequence[dict[str, NDArray[Any]]]
) -> dict[str, float]:
    """Largest absolute value of each tensor over all pictures."""
    found: dict[str, float] = {}
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    watched = [name for name in tensors if types.get(name) == TensorProto.FLOAT]
    whole = ModelProto()
    whole.CopyFrom(model)
    outputs = []
    for name in watched:
        absolute, most = f"{name}/absolute", f"{name}/largest"
        whole.graph.node.append(helper.make_node("Abs", [name], [absolute]))
        whole.graph.node.append(helper.make_node("ReduceMax", [absolute], [most], keepdims=0))
        outputs.append(most)
    del whole.graph.output[:]
    whole.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, ()) for name in outputs)
    session = cpu_session(whole)
    for picture in pictures:
        for name, value in zip(watched, session.run(outputs, picture), strict=True):
            found[name] = float(np.fmax(found.get(name, 0.0), value)) if np.isfinite(value) else np.inf
    return found
