"""A graph in which each layer can be switched to INT8 by an input, without building anything anew.

Values are rounded as they are in the quantized file, and computed with in floating point. So a set of layers is
tried in the time of one run, where the quantized file itself would have to be made and loaded for each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from segopt_export.onnx_file.session import cpu_session

Arrays = Mapping[str, NDArray[Any]]

_ON = "switches"


class Switchable:
    """A graph with a switch for each group of layers.

    Args:
        plain: the graph before it was quantized.
        quantized: the same with quantize-dequantize pairs around all layers that have a switch.
        groups: by name, the names of the layers that are switched together.
        inputs_alone: operators that are quantized without a pair at their outputs.
    """

    def __init__(
        self,
        plain: onnx.ModelProto,
        quantized: onnx.ModelProto,
        groups: Mapping[str, Sequence[str]],
        inputs_alone: Collection[str] = (),
    ) -> None:
        self._groups = tuple(groups)
        self._image = plain.graph.input[0].name
        self._session = cpu_session(switchable(plain, quantized, groups, inputs_alone))
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, image: NDArray[np.uint8], on: Collection[str]) -> Arrays:
        """Outputs by name for uint8 BGR [B, H, W, 3], where the groups ``on`` are in INT8."""
        switches = np.array([name in on for name in self._groups])
        found = self._session.run(self._outputs, {self._image: image, _ON: switches})
        return dict(zip(self._outputs, found, strict=True))


def switchable(
    plain: onnx.ModelProto,
    quantized: onnx.ModelProto,
    groups: Mapping[str, Sequence[str]],
    inputs_alone: Collection[str] = (),
) -> onnx.ModelProto:
    """The quantized graph with one more input, ``switches``: bool [G], one for each group.

    A pair on a tensor is in use where one of the layers that asked for it is: the one that makes the tensor, or
    one that reads it.
    """
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    graph = model.graph
    group_of = {layer: f"{_ON}/{i}" for i, layers in enumerate(groups.values()) for layer in layers}
    originals = {node.name: node for node in plain.graph.node if node.name in group_of}
    nodes: list[NodeProto] = []
    for i in range(len(groups)):
        place = f"{_ON}/place/{i}"
        graph.initializer.append(numpy_helper.from_array(np.array(i, np.int64), place))
        nodes.append(helper.make_node("Gather", [_ON, place], [f"{_ON}/{i}"], axis=0))
    asked: dict[str, list[str]] = {}
    for layer, node in originals.items():
        for tensor in (node.input[0], *(() if node.op_type in inputs_alone else node.output)):
            asked.setdefault(tensor, []).append(group_of[layer])
    known: set[str] = set()
    weights = {tensor.name: tensor for tensor in plain.graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    switched: dict[str, str] = {}
    for node in graph.node:
        original = originals.get(node.name)
        for k, name in enumerate(node.input):
            if name in switched:
                node.input[k] = switched[name]
            elif original is not None and k > 0 and name in made_by:
                # Weights and bias are the layer's own; the rounded bias has the name of the plain one.
                own = f"{_ON}/plain/{original.input[k]}"
                if own not in known:
                    graph.initializer.append(_renamed(weights[original.input[k]], own))
                    known.add(own)
                chosen = f"{_ON}/{node.name}/{k}"
                nodes.append(helper.make_node("Where", [group_of[node.name], name, own], [chosen]))
                node.input[k] = chosen
        nodes.append(node)
        before = made_by.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if before is not None and before.op_type == "QuantizeLinear":
            tensor = before.input[0]
            condition = _any_of(sorted(set(asked[tensor])), tensor, nodes)
            switched[node.output[0]] = f"{_ON}/value/{tensor}"
            nodes.append(
                helper.make_node("Where", [condition, node.output[0], tensor], [switched[node.output[0]]])
            )
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    del graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info(_ON, TensorProto.BOOL, [len(groups)]))
    return model


def _renamed(tensor: TensorProto, name: str) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _any_of(conditions: Sequence[str], tensor: str, nodes: list[NodeProto]) -> str:
    found = conditions[0]
    for i, other in enumerate(conditions[1:]):
        either = f"{_ON}/any/{tensor}/{i}"
        nodes.append(helper.make_node("Or", [found, other], [either]))
        found = either
    return found
