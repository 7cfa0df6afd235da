"""What every exported graph keeps to, checked on the ONNX itself."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto

from segopt.errors import ExportError
from segopt.model.tensors import DATA_DEPENDENT

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm"})


def check_static(model: onnx.ModelProto) -> None:
    """Check that a graph has standard operators and fixed shapes alone.

    Raises:
        ExportError: it has not; the message names the node or tensor.
    """
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise _not_static(f"{node.op_type} is of the custom domain {node.domain}")
        if node.op_type in DATA_DEPENDENT:
            raise _not_static(f"it has {node.op_type}")
    shaped = _typed_values(model)
    for node in model.graph.node:
        for name in filter(None, node.output):
            if name not in shaped or not _is_fixed(shaped[name]):
                raise _not_static(f"{name} of {node.op_type} has no fixed shape")
    for value in model.graph.input:
        if not _is_fixed(value):
            raise _not_static(f"its input {value.name} has no fixed shape")


def half_share(model: onnx.ModelProto) -> float:
    """Share of the convolutions, deconvolutions and fully connected layers that compute in half precision.

    A matrix product counts where one of its factors is trained weights; products of data by data (suppression,
    RoIAlign) do not.
    """
    values = _typed_values(model)
    types = [values[node.output[0]].type.tensor_type.elem_type for node in _weighted_nodes(model)]
    return types.count(TensorProto.FLOAT16) / len(types) if types else 0.0


def _weighted_nodes(model: onnx.ModelProto) -> Iterator[NodeProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    for node in model.graph.node:
        if node.op_type in _WEIGHTED or (node.op_type == "MatMul" and constants & set(node.input)):
            yield node


def _typed_values(model: onnx.ModelProto) -> dict[str, ValueInfoProto]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}


def _is_fixed(value: ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    return tensor.HasField("shape") and all(side.HasField("dim_value") for side in tensor.shape.dim)


def _not_static(what: str) -> ExportError:
    return ExportError(
        f"the exported graph is not static ({what}); report this with the output of `segopt doctor`"
    )
