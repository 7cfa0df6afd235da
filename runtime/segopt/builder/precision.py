"""How much of a network really computes in half precision.

TensorRT 11 has no precision flags, and asking an older one for FP16 is no more than a permission, so "FP16"
engines that compute in FP32 are a common accident. segopt puts the precision into the graph, types the network
strongly, and counts: the convolutions, deconvolutions and fully connected layers, in the network before the build
and, where there is a GPU to load the engine on, in what the engine inspector says of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segopt.errors import EngineError
from segopt.model.card import Card

if TYPE_CHECKING:
    import tensorrt as trt

    from segopt.tensorrt.module import TensorRT

TOLERANCE = 0.01
"""How far a share may lie below the promised one: layers that TensorRT's parser merges or folds away."""

_HALF = re.compile(r"\b(half|fp16|float16)\b", re.IGNORECASE)
# One tensor's type in the inspector's JSON: in one member with the layout (TensorRT 10: "Format/Datatype":
# "Channel major FP16 format where channel % 8 == 0", or just "Half"), or in one of its own (TensorRT 11;
# migration page tensorrt-10x-to-11x-IEngineInspector).
_TYPE_MEMBERS = ("Format/Datatype", "DataType", "Datatype")


def compute_layers(trt: TensorRT, network: trt.INetworkDefinition) -> dict[str, bool]:
    """Convolutions, deconvolutions and fully connected layers of a network.

    A fully connected layer is a matrix product with a constant; products of two computed tensors, as suppression
    has them, are none.

    Returns:
        Name of each to whether it computes in half.
    """
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    producers = {output.name: layer for layer in layers if (output := layer.get_output(0)) is not None}
    convolutions = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION)
    found: dict[str, bool] = {}
    for layer in layers:
        data = layer.get_input(0)
        if data is None:
            continue
        if layer.type in convolutions or (
            layer.type == trt.LayerType.MATRIX_MULTIPLY and _has_constant_weight(trt, layer, producers)
        ):
            found[layer.name] = data.dtype == trt.DataType.HALF
    return found


def share(layers: Mapping[str, bool]) -> float:
    """Share of the layers that compute in half, 0 to 1; 0 where there are none."""
    return sum(layers.values()) / len(layers) if layers else 0.0


def check_network(card: Card, layers: Mapping[str, bool], model: Path) -> None:
    """Compare a network's precision with what its card promises.

    Args:
        card: of the model.
        layers: of the network, as :func:`compute_layers` gives them.
        model: the ONNX file, for the message.

    Raises:
        EngineError: fewer layers in half than promised, or any in a file of FP32.
    """
    found = share(layers)
    fits = found == 0 if card.precision == "fp32" else found >= card.half_share - TOLERANCE
    if not fits:
        raise EngineError(
            f"{model}: its card promises {card.precision} with {card.half_share:.1%} of the convolutions and "
            f"fully connected layers in half, and TensorRT reads {found:.1%} ({len(layers)} layers); "
            "export it again"
        )


def slower_than_promised(built: Mapping[str, bool], layers: Mapping[str, bool]) -> str | None:
    """What the inspector says against a built engine's precision, or None.

    It is no proof. A strongly typed network is built as it is typed, and of layers that were fused the inspector
    tells the types at their ends alone.

    Args:
        built: of the engine, as :func:`compute_layers_in_engine` gives them.
        layers: of the network.
    """
    slow = [name for name, half in built.items() if layers[name] and not half]
    if len(slow) <= TOLERANCE * len(layers):
        return None
    return (
        f"the plan's inspector shows {len(slow)} of {sum(layers.values())} half-precision layers with FP32 at "
        f"their ends ({', '.join(slow[:3])}), as fused layers have; if `segopt bench --layers` shows them slow, "
        "report it"
    )


def compute_layers_in_engine(inspection: str, layers: Mapping[str, bool]) -> dict[str, bool]:
    """Which of a network's layers the built engine computes in half.

    Args:
        inspection: what ``EngineInspector.get_engine_information`` gives as JSON, of TensorRT 10, 11 or RTX.
        layers: of the network, as :func:`compute_layers` gives them. TensorRT fuses layers, so a layer of the
            engine is known by the ONNX layers that its name and metadata list.

    Returns:
        As ``layers``, for those that the inspector tells of: none, where the engine was built without detailed
        profiling or keeps its layers to itself.
    """
    in_half: dict[str, bool] = {}
    for layer in _layers(inspection):
        words = f"{layer.get('Name', '')} {layer.get('Metadata', '')}"
        half = any(_HALF.search(text) for text in _types(layer))
        for name in _names_in(words, layers):
            in_half[name] = in_half.get(name, False) or half
    return in_half


def _has_constant_weight(trt: TensorRT, layer: trt.ILayer, producers: Mapping[str, trt.ILayer]) -> bool:
    return any(_is_constant(trt, layer.get_input(i), producers) for i in range(layer.num_inputs))


def _is_constant(trt: TensorRT, tensor: trt.ITensor | None, producers: Mapping[str, trt.ILayer]) -> bool:
    """Whether a tensor is a constant, be it cast or reshaped on the way."""
    while tensor is not None and (producer := producers.get(tensor.name)) is not None:
        if producer.type == trt.LayerType.CONSTANT:
            return True
        if producer.num_inputs != 1:
            return False
        tensor = producer.get_input(0)
    return False


def _layers(inspection: str) -> Iterator[Mapping[str, Any]]:
    try:
        document = json.loads(inspection)
    except ValueError:
        return
    layers = document.get("Layers", []) if isinstance(document, dict) else []
    # Without detailed profiling a layer is just its name.
    yield from (layer for layer in layers if isinstance(layer, dict))


def _types(layer: Mapping[str, Any]) -> Iterator[str]:
    weights = layer.get("Weights")
    if isinstance(weights, dict):
        yield str(weights.get("Type", ""))
    for tensor in (*layer.get("Inputs", ()), *layer.get("Outputs", ())):
        if isinstance(tensor, dict):
            yield from (str(tensor[member]) for member in _TYPE_MEMBERS if member in tensor)


def _names_in(words: str, names: Mapping[str, bool]) -> Iterator[str]:
    found = set(re.split(r"[\s\[\]+,{}()]+|ONNX Layer:", words))
    return (name for name in names if name in found)
