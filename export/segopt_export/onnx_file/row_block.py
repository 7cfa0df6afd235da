"""A part of a graph that has a row for each slot, for a block of slots in place of all.

A tensor "in rows" has a slot for each entry of its first axis. Nodes that keep rows apart
(:mod:`segopt_export.onnx_file.rows`) give the same for some rows as for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from segopt_export.onnx_file.rows import keeps_rows_apart

_Message = TypeVar("_Message", NodeProto, TensorProto, ModelProto)


class MixesRowsError(Exception):
    """The masks cannot be computed in blocks; its text says why."""


@dataclass
class Graph:
    """A graph's nodes and what is known of its tensors."""

    proto: GraphProto
    makers: dict[str, NodeProto]
    constants: dict[str, TensorProto]
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, int]

    @classmethod
    def of(cls, model: ModelProto) -> Graph:
        """Of a model with fixed shapes."""
        known = onnx.shape_inference.infer_shapes(model).graph
        values = [*known.value_info, *known.input, *known.output]
        shapes = {v.name: tuple(side.dim_value for side in v.type.tensor_type.shape.dim) for v in values}
        return cls(
            model.graph,
            _makers(model.graph.node),
            {tensor.name: tensor for tensor in model.graph.initializer},
            shapes | {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer},
            {v.name: v.type.tensor_type.elem_type for v in values},
        )

    def needed_for(self, names: Iterable[str]) -> set[str]:
        """Outputs of the nodes that tensors are computed by."""
        return _needed_for(names, self.makers)

    def array(self, name: str) -> NDArray[np.generic]:
        """A constant's values."""
        if name not in self.constants:
            raise MixesRowsError(f"{name} is no constant")
        array: NDArray[np.generic] = numpy_helper.to_array(self.constants[name])
        return array


@dataclass
class Body:
    """The mask head for one block of slots, while it is made."""

    graph: Graph
    slots: int
    block: int
    nodes: list[NodeProto] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    """Tensors of the whole graph, a row for each slot, of which a turn takes its rows."""
    rows: dict[str, str] = field(default_factory=dict)
    """Tensors that have a row for each slot, to what is a block of them here."""
    pieces: dict[str, int] = field(default_factory=dict)
    """Parts of such a tensor, some slots each, to their number in it."""
    weights: dict[str, TensorProto] = field(default_factory=dict)
    """Constants of the body's own."""
    folded: set[str] = field(default_factory=set)
    """Tensors made from constants alone, by nodes that stand in the body."""

    def add(self, node: NodeProto) -> NodeProto:
        """Put a copy of a node at the end; what it makes has names of the body's own."""
        copy = copy_of(node)
        for position, name in enumerate(node.input):
            if name in self.rows or name in self.folded:
                copy.input[position] = self.rows.get(name, _here(name))
        for position, name in enumerate(node.output):
            copy.output[position] = _here(name)
        self.nodes.append(copy)
        return copy

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """A constant of the body's own."""
        self.weights[name] = numpy_helper.from_array(values, name)
        return name


def take(body: Body, node: NodeProto) -> None:
    """Put a node into the body if it works on rows, or on constants alone.

    Nodes come in the order of the graph. One that makes rows of something else stays outside.

    Raises:
        MixesRowsError: it may mix rows.
    """
    graph, out = body.graph, node.output[0]
    in_rows = [name for name in node.input if name in body.rows or name in body.pieces]
    if not in_rows:
        if all(name in graph.constants or name in body.folded for name in node.input):
            body.add(node)
            body.folded.update(node.output)
        elif node.op_type == "Reshape" and graph.shapes.get(out, ())[:1] == (body.slots,):
            body.entries.append(out)
            body.rows[out] = _here(out)
    elif node.op_type in ("Split", "Concat") or any(name in body.pieces for name in in_rows):
        _take_pieces(body, node)
    else:
        _add_rows(body, node)


def keep_needed(body: Body, made: str) -> None:
    """Leave out nodes that a tensor of the body does not need."""
    needed = _needed_for([made], _makers(body.nodes))
    body.nodes = [node for node in body.nodes if node.output[0] in needed]


def _take_pieces(body: Body, node: NodeProto) -> None:
    """What is done to some slots at a time, so that it stays in a cache, is done to the block at once.

    Only the first piece's nodes are taken; those of the others do the same, which is checked.
    """
    axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
    if node.op_type == "Split":
        if axis != 0 or node.input[0] not in body.rows:
            raise MixesRowsError(f"{node.name} splits what are no rows")
        body.rows[node.output[0]] = body.rows[node.input[0]]
        if len(node.output) > 1:
            body.pieces.update((name, number) for number, name in enumerate(node.output))
        return
    numbers = {body.pieces[name] for name in node.input if name in body.pieces}
    if node.op_type == "Concat":
        made_by = [_signature(body, name) for name in node.input]
        if axis != 0 or numbers != set(range(len(node.input))) or len(set(made_by)) != 1:
            raise MixesRowsError(f"{node.name} joins what are no pieces of one kind")
        body.rows[node.output[0]] = body.rows[node.input[0]]
        return
    if len(numbers) != 1 or any(name in body.rows and name not in body.pieces for name in node.input):
        raise MixesRowsError(f"{node.name} mixes pieces")
    number = numbers.pop()
    body.pieces.update(dict.fromkeys(node.output, number))
    if number == 0:
        _add_rows(body, node)


def _signature(body: Body, name: str) -> tuple[object, ...]:
    """How a piece comes from the rows: operators, attributes and other inputs, whatever its number."""
    node = body.graph.makers[name]
    if node.op_type == "Split":
        return ("Split", node.input[0])
    inputs = tuple(
        _signature(body, each) if each in body.pieces else (each, body.graph.shapes.get(each))
        for each in node.input
    )
    return (node.op_type, *(each.SerializeToString() for each in node.attribute), *inputs)


def _add_rows(body: Body, node: NodeProto) -> None:
    """Put a node into the body, for a block of rows in place of all.

    Raises:
        MixesRowsError: it may mix rows.
    """
    graph = body.graph
    if not keeps_rows_apart(node, graph.shapes, body.rows, graph.constants):
        raise MixesRowsError(f"{node.op_type} {node.name} may mix slots")
    copy = body.add(node)
    body.rows.update(zip(node.output, copy.output, strict=True))
    if node.op_type in ("Reshape", "Expand"):
        shape = np.array(graph.array(node.input[1]))
        shape[0] = body.block
        copy.input[1] = body.constant(_here(node.input[1]), shape)


def _here(name: str) -> str:
    """What is of the name in the whole graph, for a block."""
    return f"{name}/block"


def _makers(nodes: Iterable[NodeProto]) -> dict[str, NodeProto]:
    return {name: node for node in nodes for name in node.output}


def _needed_for(names: Iterable[str], makers: Mapping[str, NodeProto]) -> set[str]:
    found: set[str] = set()
    front = list(names)
    while front:
        node = makers.get(front.pop())
        if node is not None and node.output[0] not in found:
            found.update(node.output)
            front += node.input
    return found


def copy_of(message: _Message) -> _Message:
    """A node, tensor or model that can be changed."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
