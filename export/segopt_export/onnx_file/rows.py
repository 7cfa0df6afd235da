"""Which operators compute each entry of the first axis, a row, from the same row of their inputs alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onnx import NodeProto, TensorProto, helper, numpy_helper

_NAMES = {
    "alike": "Abs Add Cast Ceil Clip Div Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Max Min "
    "Mish Mul Neg Relu Sigmoid Softplus Sqrt Sub Tanh",
    "with parameters": "AveragePool BatchNormalization Conv ConvTranspose DequantizeLinear InstanceNormalization "
    "MaxPool PRelu QuantizeLinear Resize",
}
_ALIKE, _WITH_PARAMETERS = (frozenset(names.split()) for names in _NAMES.values())
"""Pointwise ones; and those whose inputs but for the first are parameters, which may have any first side."""


def keeps_rows_apart(
    node: NodeProto,
    shapes: Mapping[str, tuple[int, ...]],
    in_rows: Collection[str],
    constants: Mapping[str, TensorProto],
) -> bool:
    """Whether a node's output has a row for each row of its inputs, made from that alone.

    Args:
        node: of a graph with fixed shapes, with an input in rows.
        shapes: of the graph's tensors.
        in_rows: names of the tensors that have rows.
        constants: the graph's, by name.

    Returns:
        True where it is certain; an operator that is not known here may do so, too.
    """
    shape = shapes.get(node.output[0], ())
    rows = [name in in_rows for name in node.input]
    count = shapes[node.input[rows.index(True)]][0]
    if len(node.output) != 1 or shape[:1] != (count,):
        return False
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    sides = [shapes.get(name, ()) for name in node.input]
    match node.op_type:
        case "Reshape":
            # Both sides begin with the rows, so that each keeps its values.
            return rows == [True, False] and sides[0][0] == count and node.input[1] in constants
        case "Expand":
            return rows == [True, False] and len(sides[0]) == len(shape) and node.input[1] in constants
        case "Transpose":
            return bool(attributes["perm"][0] == 0)
        case "Squeeze" | "Unsqueeze":
            axes = constants.get(node.input[1]) if rows == [True, False] else None
            ranks = max(len(shape), len(sides[0]))
            return axes is not None and all(int(axis) % ranks for axis in numpy_helper.to_array(axes).flat)
        case "Gather" | "GatherND":
            # A table that is no row's, read at the indices of each row.
            return rows == [False, True] and not attributes.get("axis", 0) and not attributes.get("batch_dims", 0)
        case "GatherElements":
            return rows == [True, True] and attributes.get("axis", 0) % len(shape) != 0
        case "MatMul":
            return _is_product_by_row(sides, rows)
        case _ if node.op_type in _WITH_PARAMETERS:
            return rows[0] and not any(rows[1:]) and attributes.get("axis", 1) % len(shape) != 0
        case _ if node.op_type in _ALIKE:
            # What is no row's must be the same for each of them.
            return all(
                is_row or len(side) < len(shape) or side[0] == 1 for side, is_row in zip(sides, rows, strict=True)
            )
    return False


def _is_product_by_row(sides: list[tuple[int, ...]], rows: list[bool]) -> bool:
    """Whether a matrix product's factors have rows on an axis that it does not sum over."""
    if rows == [True, False]:
        return len(sides[0]) >= 2 and len(sides[1]) == 2
    if rows == [False, True]:
        return len(sides[1]) >= 3 and len(sides[0]) == 2
    return len(sides[0]) == len(sides[1]) >= 3
