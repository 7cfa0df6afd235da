"""INT8: quantize-dequantize pairs around the layers of an exported graph, by ONNX Runtime's static quantizer.

Scales come from the values that pictures cause (static calibration); weights have a scale for each output channel.
Geometry, each head's last layer, and layers that lose too much stay in floating point.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
from numpy.typing import NDArray
from onnx.version_converter import convert_version
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from segopt_export.onnx_file.checks import half_share
from segopt_export.onnx_file.session import cpu_session
from segopt_export.precision.residuals import quantize_shortcuts
from segopt_export.static.limits import Target

LAYERS = ("Conv", "ConvTranspose", "Gemm")
"""Operators that multiply by trained weights: nearly all of a network's arithmetic."""

MAX_NOISE = 0.004
"""Largest share of noise in a layer's output, by power, that the layer itself may add: 24 dB below the signal. On
the demo networks 0.02 cost 1.3 points of PQ, and this 0.5."""

_LOOKED_AT = 4
"""Pictures on which noise is measured."""

_OTHER = "int8/"
_OPSET_OF_HALF = 19
"""The first whose quantizers take half. GridSample's mode "linear" comes with 20, which some TensorRT misread."""

# What stands between the layers of a network; everything else is the beginning of geometry or of a decision.
_PASSES = frozenset(
    {"Relu", "Clip", "HardSwish", "HardSigmoid", "Add", "Mul", "Div", "MaxPool", "AveragePool", "ReduceMean",
     "GlobalAveragePool", "Resize", "Reshape", "Concat", "BatchNormalization", "GroupNormalization",
     "InstanceNormalization"}
)  # fmt: skip


@dataclass(frozen=True)
class Scheme:
    """How a backend wants its integers."""

    activations: QuantType
    options: Mapping[str, Any] = field(default_factory=dict)
    """ONNX Runtime's ``extra_options``."""
    shortcuts: bool = False
    """Whether the shortcuts of residual blocks are quantized."""


SCHEMES: dict[Target, Scheme] = {
    # VNNI multiplies unsigned by signed bytes; with signed activations ONNX Runtime falls back to slower kernels.
    "cpu": Scheme(QuantType.QUInt8),
    # TensorRT's explicit quantization takes symmetric signed activations, and biases in floating point. Scales
    # belong at the inputs of layers: one between a layer and its activation keeps the two from becoming one kernel
    # (docs.nvidia.com/deeplearning/tensorrt, "Q/DQ Layer-Placement Recommendations").
    "tensorrt": Scheme(
        QuantType.QInt8,
        {
            "ActivationSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(LAYERS),
        },
        shortcuts=True,
    ),
}


@dataclass(frozen=True)
class Quantized:
    """A graph with quantize-dequantize pairs."""

    model: onnx.ModelProto
    layers: int
    """How many layers compute in INT8."""
    float_layers: Mapping[str, str]
    """Layers that stay in floating point, by the name of their weights, and why."""
    shortcuts: int = 0
    """How many shortcuts of residual blocks are in INT8."""


def quantize(model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]], target: Target) -> Quantized:
    """Quantize an exported graph.

    Args:
        model: in single precision, or in half: what does not become INT8 stays as it is.
        images: uint8 BGR [B, H, W, 3], the canvas's size; a few dozen pictures like those of the later use.
        target: who is to run it.
    """
    if half_share(model):
        model = convert_version(model, _OPSET_OF_HALF)
    weights = {node.name: node.input[1] for node in model.graph.node if node.op_type in LAYERS}
    kept = dict.fromkeys(last_layers(model), "decides: the last layer of a head")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain, quantized = folder / "float.onnx", folder / "int8.onnx"
        plain.write_bytes(model.SerializeToString())
        _quantize(plain, quantized, images, target, list(kept), folder / "ranges")
        loud = {
            layer: f"would add {100 * noise:.1f}% of noise"
            for layer, noise in added_noise(plain, quantized, images[:_LOOKED_AT]).items()
            if noise > MAX_NOISE
        }
        if loud:
            kept.update(loud)
            _quantize(plain, quantized, images, target, list(kept), folder / "ranges")
        result = onnx.load(quantized)
    shortcuts = (
        quantize_shortcuts(model, result, images, LAYERS, max_noise=MAX_NOISE) if SCHEMES[target].shortcuts else 0
    )
    float_layers = {weights[layer]: why for layer, why in kept.items()}
    return Quantized(result, len(weights) - len(kept), float_layers, shortcuts)


def last_layers(model: onnx.ModelProto) -> list[str]:
    """Names of the layers from which no other layer is reached but through a decision or geometry.

    They give a head's answer (class scores, box deltas): rounding it to a byte would move boxes and swap classes,
    and they are a small share of the work. The mask head ends in a product of data, by the weights of each
    detection's class, which is never quantized.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in LAYERS
        and not _meets(
            (*LAYERS, "MatMul"), node.output, lambda tensor: [(n, n.output) for n in readers.get(tensor, ())]
        )
    ]


def first_layers(model: onnx.ModelProto) -> list[str]:
    """Names of the layers that are reached from no other layer but through a decision or geometry."""
    makers = {tensor: node for node in model.graph.node for tensor in node.output}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in LAYERS
        and not _meets(
            LAYERS, node.input[:1], lambda name: [(makers[name], makers[name].input)] if name in makers else []
        )
    ]


def _meets(
    wanted: Collection[str],
    start: Iterable[str],
    neighbors: Callable[[str], list[tuple[onnx.NodeProto, Sequence[str]]]],
) -> bool:
    """Whether a walk over the operators that stand between layers comes to one of the wanted operators."""
    front = list(start)
    seen = set(front)
    while front:
        for node, tensors in neighbors(front.pop()):
            if node.op_type in wanted:
                return True
            if node.op_type in _PASSES:
                front += [tensor for tensor in tensors if tensor not in seen]
                seen.update(tensors)
    return False


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
    layers = {_OTHER + node.name: node for node in model.graph.node if node.op_type in LAYERS}
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


def _quantize(
    source: Path,
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    target: Target,
    exclude: list[str],
    ranges: Path,
) -> None:
    scheme = SCHEMES[target]
    logging.getLogger().setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(
            source,
            path,
            _Pictures(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(LAYERS),
            nodes_to_exclude=exclude,
            per_channel=True,
            activation_type=scheme.activations,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=dict(scheme.options),
            calibration_cache_path=ranges,
        )


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Hands pictures to the calibrator."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images: Iterator[NDArray[np.uint8]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next picture, or None after the last."""
        image = next(self._images, None)
        return None if image is None else {"image": image}
