"""Segmentation networks of torchvision on edge GPUs and CPUs, without PyTorch at run time.

>>> import segopt
>>> segmenter = segopt.load("engines/panoptic.onnx")  # doctest: +SKIP
>>> result = segmenter(frame)  # doctest: +SKIP
"""

from segopt import merge
from segopt.card import Card, Category
from segopt.errors import SegoptError
from segopt.merge import Segment
from segopt.onnx_metadata import read_card
from segopt.results import InstanceResult, MaskCrop, PanopticResult, Result, SemanticResult
from segopt.segmenter import Segmenter, load
from segopt.version import __version__

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
