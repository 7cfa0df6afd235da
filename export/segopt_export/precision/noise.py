"""The noise that each layer adds by being quantized, and the rule that goes by it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
from numpy.typing import NDArray

from segopt_export.onnx_file.session import cpu_session
from segopt_export.precision.layers import layers_of

MAX_NOISE = 0.001
"""Largest share of noise in a layer's output, by power, that the layer itself may add: 30 dB below the signal. On
the demo's Panoptic FPN this cost 0.5 points of PQ and 0.8 of box AP (75 of 83 layers in INT8), 0.004 cost 0.7 and
0.9 (77), and 0.00025 0.5 and 0.2 (57)."""

_LOOKED_AT = 4
"""Pictures on which noise is measured."""

_OTHER = "int8/"


def too_noisy(plain: Path, quantized: Path, images: Sequence[NDArray[np.uint8]]) -> dict[str, str]:
    """The layers that would add more noise than they may, and how much.

    Args:
        plain: the ONNX file before it was quantized.
        quantized: the same with quantize-dequantize pairs.
        images: uint8 BGR [B, H, W, 3], of which the first few are looked at.
    """
    return {
        layer: f"would add {noise:.2%} of noise"
        for layer, noise in added_noise(plain, quantized, images[:_LOOKED_AT]).items()
        if noise > MAX_NOISE
    }


def added_noise(plain: Path, quantized: Path, images: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    """Noise that each layer adds by being quantized.

    Both graphs run side by side in one, which puts out sums of squares alone. Each quantized layer is given what
    its counterpart reads, so that the noise in what it puts out is its own: a layer may enlarge the noise of those
    before it, and is not to be left out for that.

    Args:
        plain: the ONNX file in single precision.
        quantized: the same with quantize-dequantize pairs.
        images: uint8 BGR [B, H, W, 3].

    Returns:
        By name of the layer, the power of its noise over the power of the signal.
    """
    model, other = onnx.load(plain), onnx.compose.add_prefix(onnx.load(quantized), _OTHER)
    pairs: dict[str, tuple[str, str]] = {}
    layers = {_OTHER + node.name: node for node in layers_of(model)}
    made_by = {tensor: node for node in other.graph.node for tensor in node.output}
    for node in other.graph.node:
        original = layers.get(node.name)
        if original is None:
            continue
        reader = made_by.get(node.input[0])
        if reader is not None and reader.op_type == "DequantizeLinear":
            made_by[reader.input[0]].input[0] = original.input[0]
            pairs[original.name] = original.output[0], node.output[0]
    session = _comparison(model, other, set(pairs.values()))
    names = [output.name for output in session.get_outputs()]
    sums = np.array([session.run(names, {"image": image}) for image in images], dtype=np.float64).sum(axis=0)
    power = {name: float(total) for name, total in zip(names, sums, strict=True)}
    return {
        layer: power[f"noise/{noisy}"] / max(power[f"signal/{clean}"], 1e-30)
        for layer, (clean, noisy) in pairs.items()
    }


def _comparison(model: onnx.ModelProto, other: onnx.ModelProto, pairs: Collection[tuple[str, str]]) -> Any:
    """A session of both graphs on one image: ``signal/a`` and ``noise/b`` for each pair of tensors a and b."""
    image = model.graph.input[0].name
    for node in other.graph.node:
        node.input[:] = [image if name == _OTHER + image else name for name in node.input]
    nodes = [*model.graph.node, *other.graph.node]
    outputs: dict[str, str] = {}
    for mine, theirs in pairs:
        # Sums of squares are beyond half.
        signal, noisy, error = f"single/{mine}", f"noisy/{theirs}", f"error/{theirs}"
        if f"signal/{mine}" not in outputs:
            nodes.append(onnx.helper.make_node("Cast", [mine], [signal], to=onnx.TensorProto.FLOAT))
        outputs |= {f"signal/{mine}": signal, f"noise/{theirs}": error}
        nodes.append(onnx.helper.make_node("Cast", [theirs], [noisy], to=onnx.TensorProto.FLOAT))
        nodes.append(onnx.helper.make_node("Sub", [signal, noisy], [error]))
    for name, tensor in outputs.items():
        nodes.append(onnx.helper.make_node("ReduceSumSquare", [tensor], [name], keepdims=0))
    graph = onnx.helper.make_graph(
        nodes,
        "comparison",
        list(model.graph.input),
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ()) for name in outputs],
        [*model.graph.initializer, *other.graph.initializer],
    )
    both = onnx.helper.make_model(graph, opset_imports=list(other.opset_import), ir_version=other.ir_version)
    return cpu_session(both)
