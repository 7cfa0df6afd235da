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
    from segopt.errors import SegoptError
    from segopt.masks.crop import MaskCrop
    from segopt.model.card import Card
    from segopt.model.categories import Category
    from segopt.model.reading import read_card
    from segopt.results import InstanceResult, PanopticResult, Result, SemanticResult
    from segopt.segment import Segment
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
    "Card": "model.card",
    "Category": "model.categories",
    "InstanceResult": "results",
    "MaskCrop": "masks.crop",
    "PanopticResult": "results",
    "Result": "results",
    "Segment": "segment",
    "Segmenter": "segmenter",
    "SegoptError": "errors",
    "SemanticResult": "results",
    "load": "segmenter",
    "read_card": "model.reading",
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
