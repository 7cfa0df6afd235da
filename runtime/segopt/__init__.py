"""Segmentation networks of torchvision on edge GPUs and CPUs, without PyTorch at run time.

>>> import segopt
>>> segmenter = segopt.load("engines/panoptic.onnx")  # doctest: +SKIP
>>> result = segmenter("street.jpg")  # doctest: +SKIP
>>> result.save("street-overlay.jpg", "street.jpg")  # doctest: +SKIP

Only what ``segopt.__all__`` names is public. Every other module may change with any release.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from segopt.pixel_limit import hand_to_opencv
from segopt.version import __version__

hand_to_opencv()

if TYPE_CHECKING:
    from segopt import merge
    from segopt.builder.build import Built
    from segopt.builder.from_options import build
    from segopt.errors import SegoptError
    from segopt.masks.crop import MaskCrop
    from segopt.model.card import Card
    from segopt.model.categories import Category
    from segopt.model.reading import read_card
    from segopt.pipeline.run import RunStats, Saved
    from segopt.pipeline.saving import run
    from segopt.pipeline.streaming import Stream, stream
    from segopt.results import Instance, InstanceResult, PanopticResult, Result, SemanticResult
    from segopt.segment import Segment
    from segopt.segmenter import Segmenter, load
    from segopt.sinks.base import Finished
    from segopt.tracking.tracker import Tracker

__all__ = [
    "Built",
    "Card",
    "Category",
    "Finished",
    "Instance",
    "InstanceResult",
    "MaskCrop",
    "PanopticResult",
    "Result",
    "RunStats",
    "Saved",
    "Segment",
    "Segmenter",
    "SegoptError",
    "SemanticResult",
    "Stream",
    "Tracker",
    "__version__",
    "build",
    "load",
    "merge",
    "read_card",
    "run",
    "stream",
]

_HOMES = {
    "Built": "builder.build",
    "Card": "model.card",
    "Category": "model.categories",
    "Finished": "sinks.base",
    "Instance": "results",
    "InstanceResult": "results",
    "MaskCrop": "masks.crop",
    "PanopticResult": "results",
    "Result": "results",
    "RunStats": "pipeline.run",
    "Saved": "pipeline.run",
    "Segment": "segment",
    "Segmenter": "segmenter",
    "SegoptError": "errors",
    "SemanticResult": "results",
    "Stream": "pipeline.streaming",
    "Tracker": "tracking.tracker",
    "build": "builder.from_options",
    "load": "segmenter",
    "read_card": "model.reading",
    "run": "pipeline.saving",
    "stream": "pipeline.streaming",
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
