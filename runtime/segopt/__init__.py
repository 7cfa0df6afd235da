"""Segmentation networks of torchvision on edge GPUs and CPUs, without PyTorch at run time.

>>> import segopt
>>> segmenter = segopt.load("engines/panoptic.onnx")  # doctest: +SKIP
>>> result = segmenter(frame)  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from segopt.version import __version__

if TYPE_CHECKING:
    from segopt import merge
    from segopt.card import Card, Category
    from segopt.errors import SegoptError
    from segopt.merge import Segment
    from segopt.onnx_metadata import read_card
    from segopt.results import InstanceResult, MaskCrop, PanopticResult, Result, SemanticResult
    from segopt.segmenter import Segmenter, load

__all__ = [
    "Card",
    "Category",
    "InstanceResult",
    "MaskCrop",
    "PanopticResult",
    "Result",
    "Segment",
    "Segmenter",
    "SegoptError",
    "SemanticResult",
    "__version__",
    "load",
    "merge",
    "read_card",
]

_HOMES = {
    "Card": "card",
    "Category": "card",
    "InstanceResult": "results",
    "MaskCrop": "results",
    "PanopticResult": "results",
    "Result": "results",
    "Segment": "merge",
    "Segmenter": "segmenter",
    "SegoptError": "errors",
    "SemanticResult": "results",
    "load": "segmenter",
    "read_card": "onnx_metadata",
}


def __getattr__(name: str) -> Any:
    # Imported when first asked for: the command line must set up its process before NumPy is imported.
    if name == "merge":
        return import_module("segopt.merge")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"segopt.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
