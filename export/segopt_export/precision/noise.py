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
from segopt_export.precision.layers import first_layers, layers_of

MAX_NOISE = 0.004
"""Largest share of noise in a layer's output, by power, that the layer itself may add: 24 dB below the signal. On
the demo networks 0.02 cost 1.3 points of PQ, and this 0.5."""

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
        layer: f"would add {100 * noise:.1f}% of noise"
        for layer, noise in added_noise(plain, quantized, images[:_LOOKED_AT]).items()
        if noise > MAX_NOISE
    }


def added_noise(plain: Path, quantized: Path, images: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    """Noise that each layer adds by being quantized.

    Both graphs run side by side in one, which puts out sums of squares alone. The noise in what a layer puts out,
    less the noise in what reaches its quantizer, is its own. Where a stage begins after a decision (which boxes
    there are), the quantized one is given what the other decided: else different boxes would be compared.

    Args:
        plain: the ONNX file in single precision.
        quantized: the same with quantize-dequantize pairs.
        images: uint8 BGR [B, H, W, 3].

    Returns:
        By name of the layer, the power of its noise over the power of the signal.
    """
    model, other = onnx.load(plain), onnx.compose.add_prefix(onnx.load(quantized), _OTHER)
    pairs: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {}
    layers = {_OTHER + node.name: node for node in layers_of(model)}
    begins = set(first_layers(model))
    made_by = {tensor: node for node in other.graph.node for tensor in node.output}
    for node in other.graph.node:
        original = layers.get(node.name)
        if (
            original is not None
            and (reader := made_by.get(node.input[0]))
            and reader.op_type == "DequantizeLinear"
        ):
            quantizer = made_by[reader.input[0]]
            if original.name in begins:
                quantizer.input[0] = original.input[0]
            pairs[original.name] = (original.input[0], quantizer.input[0]), (original.output[0], node.output[0])
    session = _comparison(model, other, {pair for both in pairs.values() for pair in both})
    names = [output.name for output in session.get_outputs()]
    sums = np.array([session.run(names, {"image": image}) for image in images], dtype=np.float64).sum(axis=0)
    power = {name: float(total) for name, total in zip(names, sums, strict=True)}

    def ratio(pair: tuple[str, str]) -> float:
        return power[f"noise/{pair[1]}"] / max(power[f"signal/{pair[0]}"], 1e-30)

    return {layer: max(0.0, ratio(after) - ratio(before)) for layer, (before, after) in pairs.items()}


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
