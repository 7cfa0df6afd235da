"""What the oldest TensorRT that segopt supports takes of ONNX: operators, types, and what must be constant.

TensorRT-RTX, which builds here without a GPU, has a newer parser, so that it hides what JetPack 6 refuses. The
tables are docs/operators.md of github.com/onnx/onnx-tensorrt, whose pages for TensorRT 10.1 and for 10.15 say the
same of every operator in them; they hold what graphs of segopt are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx
from onnx import NodeProto, TensorProto

OLDEST = "TensorRT 10.3"
OPSETS = range(9, 21)

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
_NUMBERS = _FLOATS | {TensorProto.INT32, TensorProto.INT64}
_ANY = _NUMBERS | {TensorProto.BOOL}
_UINT8 = TensorProto.UINT8

_OPERATORS: tuple[tuple[frozenset[int], str], ...] = (
    (
        _FLOATS,
        "AveragePool BatchNormalization Ceil Clip Conv ConvTranspose Elu Erf Exp Floor Gemm GlobalAveragePool "
        "GlobalMaxPool GridSample HardSigmoid HardSwish InstanceNormalization LayerNormalization LeakyRelu Log "
        "LogSoftmax MatMul MaxPool Mish Pow PRelu QuantizeLinear Reciprocal Resize Round Selu Sigmoid Softmax "
        "Softplus Softsign Sqrt Tanh",
    ),
    (
        _NUMBERS,
        "Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod "
        "Mul Neg Pad Range ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare "
        # The table has Trilu with BOOL, too. The zeros that the parser of 10.1 needs there are a product of BOOLs
        # (createZeroTensor in importerUtils.cpp), and TensorRT has no such product.
        "Relu ScatterElements ScatterND Sign SpaceToDepth Sub Sum TopK Trilu",
    ),
    (
        _ANY,
        "Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND Identity OneHot "
        "Reshape Shape Size Slice Split Squeeze Tile Transpose Unsqueeze Where",
    ),
    (_ANY | {_UINT8}, "Cast"),
    (frozenset({TensorProto.BOOL}), "And Not Or Xor"),
    (frozenset({TensorProto.INT8}), "DequantizeLinear"),
)
_TYPES: Mapping[str, frozenset[int]] = {name: types for types, names in _OPERATORS for name in names.split()}
_CONSTANT: Mapping[str, int] = {
    **{f"Reduce{kind}": 1 for kind in ("L1", "L2", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")},
    "Slice": 3,
    "Squeeze": 1,
    "Unsqueeze": 1,
    "Pad": 3,
}
"""The input, ``axes``, that must be constant."""


def refusals(model: onnx.ModelProto) -> list[str]:
    """What :data:`OLDEST` refuses of a graph that newer versions may take.

    Args:
        model: of standard operators, its shapes fixed.

    Returns:
        Words for each kind of refusal, with the first node that it concerns; empty where there is none.
    """
    types = _value_types(model)
    opset = opset_of(model)
    found: dict[str, str] = {}
    if opset not in OPSETS:
        found[f"opset {opset}"] = "the graph"
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    for node in model.graph.node:
        for words in _of_node(node, opset, types, constants):
            found.setdefault(words, node.name or node.output[0])
    return [f"{words} ({where})" for words, where in found.items()]


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a graph has."""
    return next(int(each.version) for each in model.opset_import if each.domain in ("", "ai.onnx"))


def _of_node(node: NodeProto, opset: int, types: Mapping[str, int], constants: set[str]) -> Iterator[str]:
    if node.op_type not in _TYPES:
        yield node.op_type
        return
    main = [types[name] for name in _values_of_the_main_type(node, opset) if name in types]
    for each in sorted(set(main) - _TYPES[node.op_type]):
        yield f"{node.op_type} of {_name(each)}"
    if node.op_type == "Cast" and _UINT8 in main and not set(main) - {_UINT8} <= _FLOATS:
        # include/NvInferRuntimeBase.h, DataType::kUINT8.
        yield f"Cast from {_name(main[0])} to {_name(main[-1])}"
    if node.op_type == "GridSample" and len({types.get(name) for name in node.input}) > 1:
        yield "GridSample whose grid is of another type than its input"
    axes = _CONSTANT.get(node.op_type)
    if axes is not None and len(node.input) > axes and node.input[axes] not in {*constants, ""}:
        yield f"{node.op_type} whose axes are not constant"


def _values_of_the_main_type(node: NodeProto, opset: int) -> Iterator[str]:
    """Inputs and outputs whose type is the one that NVIDIA's table speaks of."""
    schema: Any = onnx.defs.get_schema(node.op_type, opset, "")
    if node.op_type == "Cast":
        yield from (node.input[0], node.output[0])
        return
    # The condition of Where is always BOOL; ConstantOfShape takes a shape.
    first = schema.outputs[0] if node.op_type in ("Where", "Constant", "ConstantOfShape") else schema.inputs[0]
    for names, formals in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for index, name in enumerate(names):
            if name and formals[min(index, len(formals) - 1)].type_str == first.type_str:
                yield name


def _value_types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return types | {value.name: value.type.tensor_type.elem_type for value in values}


def _name(elem_type: int) -> str:
    return str(TensorProto.DataType.Name(elem_type))


def target_notes(target: str, model: onnx.ModelProto) -> list[str]:
    """What :data:`OLDEST` would refuse of a graph that is made for TensorRT, as a note; else none."""
    refused = refusals(model) if target == "tensorrt" else []
    if not refused:
        return []
    return [f"{OLDEST}, the oldest that segopt supports, does not take {', '.join(refused)}; newer ones may"]
