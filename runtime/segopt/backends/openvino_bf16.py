"""bf16 with exact geometry: the types of an FP16 file, with bf16 in the place of half.

OpenVINO's own bf16 mode computes nearly every operation in it, boxes and sample points too. It can be told to
leave single operations alone, but forgets that when it fuses them with others (``TokenizeSnippets`` of its CPU
plugin copies no such mark). What it does keep are the types of a graph. A file that was exported with
``--precision fp16`` has them: layers in half, all geometry in single precision. Both types have 16 bits, so the
graph stays as it is but for the name of the type and the weights' bits.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from segopt.errors import UsageError

_ALIGNMENT = 64
"""Bytes, of where a constant begins."""


def read_in_bf16(ov: Any, core: Any, path: Path) -> Any:
    """An FP16 file as OpenVINO's model in which bf16 stands in the place of half.

    Args:
        ov: the module ``openvino``.
        core: its ``Core``.
        path: the ONNX file.

    Returns:
        An ``openvino.Model``; what is in single precision in the file is so in it.

    Raises:
        UsageError: nothing in the file is in half precision.
    """
    model = core.read_model(str(path))
    if not any(port.get_element_type() == ov.Type.f16 for node in model.get_ops() for port in node.outputs()):
        raise UsageError(
            f"{path}: has no half precision in it, which says what may be in bf16 and what must stay in single "
            "precision; export it with --precision fp16, or leave --inference-precision out"
        )
    with tempfile.TemporaryDirectory() as folder:
        graph, weights = Path(folder) / "model.xml", Path(folder) / "model.bin"
        ov.serialize(model, str(graph), str(weights))
        del model
        root = ElementTree.fromstring(graph.read_bytes())
        data = retype(root, np.fromfile(weights, np.uint8))
    return core.read_model(ElementTree.tostring(root), ov.Tensor(data))


def retype(root: ElementTree.Element, weights: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put bf16 in the place of half in OpenVINO's own format, in place.

    Args:
        root: of the ``.xml``.
        weights: the ``.bin``, uint8 [N].

    Returns:
        The weights for it, uint8 [M]: those that were there, and behind them the new ones. What is the same bytes
        in another type may be stored only once, so that none can be changed where it is.
    """
    parts, end = [weights], len(weights)
    for layer in root.iter("layer"):
        for port in layer.iter("port"):
            if port.get("precision") == "FP16":
                port.set("precision", "BF16")
        data = layer.find("data")
        if data is None:
            continue
        if data.get("destination_type") == "f16":
            data.set("destination_type", "bf16")
        if data.get("element_type") == "f16":
            data.set("element_type", "bf16")
            if layer.get("type") == "Const":
                offset, size = int(data.get("offset", 0)), int(data.get("size", 0))
                converted = to_bf16(weights[offset : offset + size].view(np.float16)).view(np.uint8)
                padding = np.zeros(-end % _ALIGNMENT, np.uint8)
                data.set("offset", str(end + len(padding)))
                parts += [padding, converted]
                end += len(padding) + len(converted)
    return np.concatenate(parts)


def to_bf16(values: NDArray[np.float16]) -> NDArray[np.uint16]:
    """Finite numbers rounded to bf16, the nearest, and the even one of two; their bits."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
