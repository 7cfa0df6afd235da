"""What a graph costs at least: operations and memory traffic, counted on the ONNX itself.

A layer here is what a compiler makes one kernel of: an operator with the pointwise ones that follow it. It reads
what other layers made, and weights, and writes what others read; of a table that is gathered from it reads what it
takes. On a device it lasts at least as long as the slower of its operations and its traffic. Caches, launches and
layouts are left out, so that real times are longer: the figure is for comparing graphs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import NodeProto, helper, numpy_helper

from segopt.model.tensors import MASK_BLOCK, MASK_LOOP

_NAMES = {
    "views": "Reshape Squeeze Unsqueeze Flatten Identity Constant ConstantOfShape Shape Dropout",
    "pointwise": "Abs Add And BatchNormalization Cast Ceil Clip Div Elu Equal Erf Exp Floor Greater "
    "GreaterOrEqual HardSigmoid HardSwish LeakyRelu Less LessOrEqual Log Max Min Mod Mul Neg Not Or Pow PRelu "
    "Reciprocal Relu Round Sigmoid Sign Softplus Sqrt Sub Tanh Where QuantizeLinear DequantizeLinear",
    "gathering": "Gather GatherElements GatherND GridSample Slice Split",
}
_VIEWS, _POINTWISE, _GATHERING = (frozenset(names.split()) for names in _NAMES.values())


@dataclass(frozen=True)
class Device:
    """What a device can do at most, by its maker's data sheet."""

    name: str
    bandwidth: float
    """Bytes a second."""
    half: float
    """Operations a second in half precision, dense."""
    single: float
    """In single precision, without TF32."""


DEVICES = (
    Device("Jetson AGX Orin 64 GB", 204.8e9, 42.5e12, 5.3e12),
    Device("Jetson Orin NX 16 GB", 102.4e9, 15e12, 1.9e12),
    Device("Jetson Orin Nano 8 GB", 68e9, 10e12, 1.3e12),
    Device("GeForce RTX 4090", 1008e9, 165e12, 82.6e12),
    Device("H100 SXM", 3350e9, 989e12, 67e12),
)


@dataclass(frozen=True)
class LayerCost:
    """One layer."""

    name: str
    """Of its first node."""
    operators: tuple[str, ...]
    """Such as ``("Conv", "Relu")``."""
    operations: int
    """A multiplication and the addition after it are two."""
    bytes_moved: int
    half: bool
    """Whether it computes in half precision."""

    def floor(self, device: Device) -> float:
        """Seconds that it lasts at least."""
        return max(
            self.operations / (device.half if self.half else device.single), self.bytes_moved / device.bandwidth
        )


def floor(layers: Sequence[LayerCost], device: Device) -> float:
    """Seconds that all layers last at least, one after the other."""
    return sum(layer.floor(device) for layer in layers)


def layer_costs(model: onnx.ModelProto) -> list[LayerCost]:
    """The layers of a graph with fixed shapes, in the order of its nodes.

    Where masks are computed in a loop, its layers come first, counted as often as they run at most.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    tensors = _Tensors(graph)
    found: list[LayerCost] = []
    for node in graph.node:
        if node.name == MASK_LOOP:
            found += _of_loop(node, graph, tensors)
    return found + _of_graph(graph, tensors)


def _of_loop(loop: NodeProto, graph: onnx.GraphProto, tensors: _Tensors) -> list[LayerCost]:
    """The layers of the loop over blocks of masks, for all slots."""
    body: onnx.GraphProto = next(each.g for each in loop.attribute if each.name == "body")
    (block,) = (int(numpy_helper.to_array(t)) for t in graph.initializer if t.name == MASK_BLOCK)
    turns = math.ceil(tensors.shape(loop.input[2])[0] / block)
    layers = _of_graph(body, _Tensors(body, tensors))
    return [
        replace(each, operations=turns * each.operations, bytes_moved=turns * each.bytes_moved) for each in layers
    ]


def _of_graph(graph: onnx.GraphProto, tensors: _Tensors) -> list[LayerCost]:
    groups: list[list[NodeProto]] = []
    group_of: dict[str, int] = {}
    for node in graph.node:
        if node.name == MASK_LOOP or tensors.is_constant(node):
            continue
        joined = _joined(node, tensors, group_of)
        if joined is None:
            joined = len(groups)
            groups.append([])
        groups[joined].append(node)
        group_of.update(dict.fromkeys(node.output, joined))
    readers: dict[str, set[int]] = {value.name: {-1} for value in graph.output}
    for number, nodes in enumerate(groups):
        for node in nodes:
            for name in node.input:
                readers.setdefault(name, set()).add(number)
    found = [_cost(number, nodes, tensors, readers) for number, nodes in enumerate(groups)]
    return [layer for layer in found if layer.bytes_moved or layer.operations]


class _Tensors:
    """Shapes and types of a graph's tensors.

    Args:
        graph: whose shapes were inferred.
        outer: of the graph around it.
    """

    def __init__(self, graph: onnx.GraphProto, outer: _Tensors | None = None) -> None:
        self._shapes: dict[str, tuple[int, ...]] = dict(outer._shapes) if outer else {}
        self._types: dict[str, int] = dict(outer._types) if outer else {}
        self.constants: set[str] = set(outer.constants) if outer else set()
        for tensor in graph.initializer:
            self._shapes[tensor.name], self._types[tensor.name] = tuple(tensor.dims), tensor.data_type
            self.constants.add(tensor.name)
        for value in (*graph.value_info, *graph.input, *graph.output):
            self._shapes[value.name] = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
            self._types[value.name] = value.type.tensor_type.elem_type

    def is_constant(self, node: NodeProto) -> bool:
        """Whether a node computes from constants alone; its outputs are then constants, too."""
        if node.op_type == "Constant" or all(name in self.constants for name in node.input if name):
            self.constants.update(node.output)
            return True
        return False

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor; empty where it is not known."""
        return self._shapes.get(name, ())

    def count(self, name: str) -> int:
        return math.prod(self.shape(name))

    def size(self, name: str) -> int:
        kind = self._types.get(name)
        return self.count(name) * (helper.tensor_dtype_to_np_dtype(kind).itemsize if kind else 0)

    def is_half(self, name: str) -> bool:
        return bool(self._types.get(name) == onnx.TensorProto.FLOAT16)


def _joined(node: NodeProto, tensors: _Tensors, group_of: Mapping[str, int]) -> int | None:
    """The layer that a view or a pointwise node becomes a part of; None where it begins one."""
    made = [name for name in node.input if name in group_of]
    if not made or node.op_type not in _VIEWS | _POINTWISE:
        return None
    if node.op_type in _VIEWS:
        return group_of[made[0]]
    same = [group_of[name] for name in made if tensors.count(name) == tensors.count(node.output[0])]
    # The newest: what the others made is done by then.
    return max(same, default=None)


def _cost(number: int, nodes: list[NodeProto], tensors: _Tensors, readers: Mapping[str, set[int]]) -> LayerCost:
    own = {name for node in nodes for name in node.output}
    read: dict[str, int] = {}
    for node in nodes:
        taken = node.input[:1] if node.op_type in _VIEWS else node.input
        for position, name in enumerate(filter(None, taken)):
            if name not in own:
                size = tensors.size(name)
                if node.op_type in _GATHERING and position == 0:
                    size = min(size, sum(map(tensors.size, node.output)))
                read[name] = max(read.get(name, 0), size)
    written = sum(tensors.size(name) for name in own if readers.get(name, set()) - {number})
    if all(node.op_type in _VIEWS for node in nodes):
        read, written = {}, 0
    heavy = next((node for node in nodes if node.op_type not in _VIEWS), nodes[0])
    return LayerCost(
        heavy.name or heavy.output[0],
        tuple(node.op_type for node in nodes if node.op_type not in _VIEWS),
        sum(_operations(node, tensors) for node in nodes),
        sum(read.values()) + written,
        half=tensors.is_half(heavy.input[0] if heavy.input else heavy.output[0]),
    )


def _operations(node: NodeProto, tensors: _Tensors) -> int:
    made = tensors.count(node.output[0])
    if node.op_type == "Conv":
        return 2 * made * math.prod(tensors.shape(node.input[1])[1:])
    if node.op_type == "ConvTranspose":
        return 2 * tensors.count(node.input[0]) * math.prod(tensors.shape(node.input[1])[1:])
    if node.op_type in ("MatMul", "Gemm"):
        first = tensors.shape(node.input[0])
        turned = any(each.name == "transA" and each.i for each in node.attribute)
        return 2 * made * (first[0] if turned else first[-1]) if first else 0
    if node.op_type in _VIEWS or node.op_type in _GATHERING - {"GridSample"}:
        return 0
    return made * (8 if node.op_type == "GridSample" else 1)
