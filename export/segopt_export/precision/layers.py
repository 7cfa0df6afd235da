"""The layers of a graph that INT8 is about, and where they stand."""

from __future__ import annotations

from onnx import ModelProto, NodeProto

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that multiply by trained weights: nearly all of a network's arithmetic. Those are meant whose second
input is a constant; products, by a table of two sides."""


def layers_of(model: ModelProto) -> list[NodeProto]:
    """The layers, in the order of the graph's nodes."""
    sides = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in LAYERS and node.input[1] in sides]
    return [node for node in layers if node.op_type != "MatMul" or sides[node.input[1]] == 2]


def with_names(model: ModelProto) -> ModelProto:
    """A copy in which each node has a name of its own."""
    copy = ModelProto()
    copy.CopyFrom(model)
    seen: set[str] = set()
    for index, node in enumerate(copy.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)
    return copy


def last_layers(model: ModelProto) -> list[str]:
    """Names of the layers between which and an answer, or the place that features are read at, there is no other.

    They give a head's answer (class scores, box deltas): rounding it to a byte would move boxes and swap classes,
    and they are a small share of the work. A mask head ends in a product of data (by the weights of each
    detection's class, or of queries by features), which is never quantized; so the layers before it are no last
    ones.
    """
    makers = {tensor: node for node in model.graph.node for tensor in node.output}
    layers = {node.name for node in layers_of(model)}
    front = [value.name for value in model.graph.output]
    front += [node.input[1] for node in model.graph.node if node.op_type == "GridSample"]
    last: list[str] = []
    seen: set[str] = set()
    while front:
        node = makers.get(front.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.name in layers:
            last.append(node.name)
        elif node.op_type != "MatMul":
            front += node.input
    return [node.name for node in model.graph.node if node.name in last]
