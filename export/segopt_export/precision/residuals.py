"""INT8 for TensorRT: the shortcuts of residual blocks in bytes.

TensorRT makes a convolution, the sum behind it and its activation one kernel, which reads the shortcut in INT8
only where a quantize-dequantize pair stands on it ("Quantize the residual input in skip connections":
docs.nvidia.com/deeplearning/tensorrt, "Q/DQ Layer-Placement Recommendations"). Without the pair it reads, and
first writes, the same values in floating point: most of a residual network's memory traffic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from segopt_export.onnx_file.session import cpu_session

_LARGEST = 127
_PAIR = "{}/shortcut/{}"


MAX_SHORTCUT_NOISE = 0.004
"""Largest share of noise, by power, that rounding may make in a shortcut."""


@dataclass(frozen=True)
class _Values:
    """What a tensor holds on some pictures."""

    largest: float
    power: float
    """Mean square."""


def quantize_shortcuts(
    plain: onnx.ModelProto,
    quantized: onnx.ModelProto,
    images: Sequence[NDArray[np.uint8]],
    layers: Collection[str],
    *,
    max_noise: float = MAX_SHORTCUT_NOISE,
) -> int:
    """Put quantize-dequantize pairs on the shortcuts of a quantized graph, in place.

    Args:
        plain: the graph before it was quantized; its tensors have the same names.
        quantized: with pairs around its layers, symmetric INT8.
        images: uint8 BGR [B, H, W, 3], on which ranges are looked at.
        layers: operators that multiply by trained weights.
        max_noise: as :data:`MAX_SHORTCUT_NOISE`; a louder shortcut stays as it is.

    Returns:
        How many shortcuts are in INT8.
    """
    sums = dict(_shortcuts(plain, layers))
    values = _look_at(plain, set(sums.values()), images) if sums else {}
    types = _float_types(plain)
    nodes: list[onnx.NodeProto] = []
    made: dict[str, str] = {}
    count = 0
    for node in quantized.graph.node:
        shortcut = sums.get(node.name)
        if shortcut is not None:
            step = values[shortcut].largest / _LARGEST
            if shortcut not in node.input:
                # A quantized layer reads it as well, and its pair serves all readers.
                count += 1
            elif step**2 / 12 <= max_noise * values[shortcut].power:  # A rounding error is spread over one step.
                if shortcut not in made:
                    made[shortcut] = _PAIR.format(shortcut, "dequantized")
                    nodes += _new_pair(quantized, shortcut, step, types[shortcut], made[shortcut])
                node.input[:] = [made[shortcut] if name == shortcut else name for name in node.input]
                count += 1
        nodes.append(node)
    del quantized.graph.node[:]
    quantized.graph.node.extend(nodes)
    return count


def _shortcuts(model: onnx.ModelProto, layers: Collection[str]) -> Iterator[tuple[str, str]]:
    """Name of each sum that TensorRT can join with the layer before it, and the tensor that it adds to it."""
    makers = {tensor: node for node in model.graph.node for tensor in node.output}
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for tensor in node.input:
            readers[tensor] = readers.get(tensor, 0) + 1
    for node in model.graph.node:
        if node.op_type != "Add" or not all(name in makers for name in node.input):
            continue
        first, second = node.input
        made = [makers[name].op_type in layers and readers[name] == 1 for name in (first, second)]
        # Where both sides end in a layer, the second is the projection on the shortcut.
        if made[0] and first != second:
            yield node.name, second
        elif made[1]:
            yield node.name, first


def _float_types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model)
    return {info.name: info.type.tensor_type.elem_type for info in inferred.graph.value_info}


def _new_pair(
    model: onnx.ModelProto, tensor: str, step: float, type_: int, output: str
) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    scale, zero, integers = (_PAIR.format(tensor, name) for name in ("scale", "zero", "quantized"))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(type_)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(step, dtype), scale),
            numpy_helper.from_array(np.array(0, np.int8), zero),
        ]
    )
    return (
        onnx.helper.make_node("QuantizeLinear", [tensor, scale, zero], [integers], name=integers),
        onnx.helper.make_node("DequantizeLinear", [integers, scale, zero], [output], name=output),
    )


def _look_at(
    model: onnx.ModelProto, tensors: Collection[str], images: Sequence[NDArray[np.uint8]]
) -> dict[str, _Values]:
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = sorted(tensors)
    float_, outputs = onnx.TensorProto.FLOAT, []
    for name in names:
        single, largest, power = (_PAIR.format(name, part) for part in ("single", "largest", "power"))
        absolute, square = (_PAIR.format(name, part) for part in ("absolute", "square"))
        watched.graph.node.extend(
            [
                onnx.helper.make_node("Cast", [name], [single], to=float_),
                onnx.helper.make_node("Abs", [single], [absolute]),
                onnx.helper.make_node("ReduceMax", [absolute], [largest], keepdims=0),
                onnx.helper.make_node("Mul", [single, single], [square]),
                onnx.helper.make_node("ReduceMean", [square], [power], keepdims=0),
            ]
        )
        outputs += [largest, power]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(name, float_, ()) for name in outputs)
    session = cpu_session(watched)
    found = np.array([session.run(outputs, {"image": image}) for image in images], dtype=np.float64)
    largest, power = found[:, 0::2].max(axis=0), found[:, 1::2].mean(axis=0)
    return {name: _Values(float(a), float(b)) for name, a, b in zip(names, largest, power, strict=True)}
