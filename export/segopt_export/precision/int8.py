"""INT8: quantize-dequantize pairs around the layers of an exported graph, by ONNX Runtime's static quantizer.

Scales come from the values that pictures cause (static calibration); weights have a scale for each output channel.
Geometry and each head's last layer stay in floating point, and so do layers that lose too much: by the noise that
each adds, or, where a bound is given, by what the whole answer loses.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.version_converter import convert_version
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from segopt.model.int8_choice import Int8Choice
from segopt_export.onnx_file.checks import half_share
from segopt_export.precision.choosing import Comparison, Made, choose, parted
from segopt_export.precision.layers import LAYERS, last_layers, layers_of, with_names
from segopt_export.precision.noise import too_noisy
from segopt_export.precision.notes import DECIDES
from segopt_export.precision.residuals import quantize_shortcuts
from segopt_export.static.limits import Target

_OPSET_OF_HALF = 19
"""The first whose quantizers take half. GridSample's mode "linear" comes with 20, which some TensorRT misread."""
JOINED = ("Conv", "ConvTranspose", "Gemm")
"""Layers that TensorRT makes one kernel of with a sum behind them."""


@dataclass(frozen=True)
class Scheme:
    """How a backend wants its integers."""

    activations: QuantType
    options: Mapping[str, Any] = field(default_factory=dict)
    """ONNX Runtime's ``extra_options``."""
    overflows: bool = False
    """Whether a processor that it is for can overflow with weights of 8 bits."""
    inputs_alone: tuple[str, ...] = ()
    """Operators that have scales at their inputs, and none at their outputs."""
    shortcuts: bool = False
    """Whether the shortcuts of residual blocks are quantized."""


SCHEMES: dict[Target, Scheme] = {
    # VNNI multiplies unsigned by signed bytes; with signed activations ONNX Runtime falls back to slower kernels.
    # A product's sums stay in floating point: norms and residuals come next.
    "cpu": Scheme(QuantType.QUInt8, overflows=True, inputs_alone=("MatMul",)),
    # TensorRT's explicit quantization takes symmetric signed activations, and biases in floating point. Scales
    # belong at the inputs of layers: one between a layer and its activation keeps the two from becoming one kernel
    # (docs.nvidia.com/deeplearning/tensorrt, "Q/DQ Layer-Placement Recommendations").
    "tensorrt": Scheme(
        QuantType.QInt8,
        {
            "ActivationSymmetric": True,
            "QuantizeBias": False,
        },
        inputs_alone=LAYERS,
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
    choice: Int8Choice | None = None
    """How layers were chosen, where what may be lost was bounded."""


def quantize(
    model: onnx.ModelProto,
    images: Sequence[NDArray[np.uint8]],
    target: Target,
    *,
    max_loss: float | None = None,
    mask_level: float = 0.5,
) -> Quantized:
    """Quantize an exported graph.

    Args:
        model: in single precision, or in half: what does not become INT8 stays as it is.
        images: uint8 BGR [B, H, W, 3], the canvas's size; a few dozen pictures like those of the later use.
        target: who is to run it.
        max_loss: points of agreement with ``model`` that may be lost; layers are then chosen for the time that
            they save. None leaves out each layer that adds more noise than
            :data:`segopt_export.precision.noise.MAX_NOISE`.
        mask_level: what a cell of a detection's mask is above where it is of the object.

    Raises:
        ExportError: there is a bound, and it cannot be met, or nothing can be compared.
    """
    if half_share(model):
        model = convert_version(model, _OPSET_OF_HALF)
    model = with_names(model)
    weights = {node.name: node.input[1] for node in layers_of(model)}
    kept = dict.fromkeys(last_layers(model), DECIDES)
    choice = None
    shown, measured = (images, images) if max_loss is None else parted(images)
    with tempfile.TemporaryDirectory() as name:
        quantizer = Quantizer(Path(name), model, shown, target, narrow=max_loss is not None)
        whole = quantizer.without(kept)
        if max_loss is None:
            kept.update(too_noisy(quantizer.plain, quantizer.file, shown))
            made = quantizer.finished(kept)
        else:
            candidates = {layer: weight for layer, weight in weights.items() if layer not in kept}
            within = choose(
                Comparison(
                    model,
                    whole,
                    candidates,
                    measured,
                    inputs_alone=SCHEMES[target].inputs_alone,
                    mask_level=mask_level,
                ),
                max_loss,
                lambda left_out: quantizer.finished({**kept, **left_out}),
            )
            made = within.made
            kept.update(within.left_out)
            choice = replace(within.choice, held_out=measured is not images)
    float_layers = {weights[layer]: why for layer, why in kept.items()}
    return Quantized(made.model, len(weights) - len(kept), float_layers, made.shortcuts, choice)


class Quantizer:
    """ONNX Runtime's quantizer on one graph; pictures are run through it once.

    Args:
        folder: where files go, one of its own.
        model: the graph.
        images: uint8 BGR [B, H, W, 3] each, that scales come from.
        target: who is to run it.
        narrow: give weights 7 bits where 8 could overflow. Without VNNI, kernels add two products in 16 bits,
            which 8 and 8 bits do not fit: the demo's Panoptic FPN lost 27 points so, and 18 with 7 bits, as it
            does where nothing overflows.
    """

    def __init__(
        self,
        folder: Path,
        model: onnx.ModelProto,
        images: Sequence[NDArray[np.uint8]],
        target: Target,
        *,
        narrow: bool = False,
    ) -> None:
        self.plain, self.file, self._ranges = folder / "float.onnx", folder / "int8.onnx", folder / "ranges"
        self.plain.write_bytes(model.SerializeToString())
        self._model, self._images, self._scheme = model, images, SCHEMES[target]
        self._narrow = narrow and self._scheme.overflows
        layers = {node.name for node in layers_of(model)}
        # Products of data by data are no layers.
        self._no_layers = [n.name for n in model.graph.node if n.op_type in LAYERS and n.name not in layers]

    def without(self, layers: Collection[str]) -> onnx.ModelProto:
        """The graph with pairs around all layers but these; also written to :attr:`file`."""
        logging.getLogger().setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_static(
                self.plain,
                self.file,
                _Pictures(self._images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(LAYERS),
                nodes_to_exclude=[*layers, *self._no_layers],
                per_channel=True,
                reduce_range=self._narrow,
                activation_type=self._scheme.activations,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    **self._scheme.options,
                    "OpTypesToExcludeOutputQuantization": list(self._scheme.inputs_alone),
                },
                calibration_cache_path=self._ranges,
            )
        return onnx.load(self.file)

    def finished(self, layers: Collection[str]) -> Made:
        """The same with shortcuts, where the target takes them in INT8."""
        model = self.without(layers)
        if not self._scheme.shortcuts:
            return Made(model, 0)
        count = quantize_shortcuts(self._model, model, self._images, JOINED)
        return Made(model, count)


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Hands pictures to the calibrator."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images: Iterator[NDArray[np.uint8]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next picture, or None after the last."""
        image = next(self._images, None)
        return None if image is None else {"image": image}
