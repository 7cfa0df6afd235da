"""What segopt uses of a TensorRT module, for the type checker.

``tensorrt`` and ``tensorrt_rtx`` have one API, so code takes whichever was imported as a value, and calls it
``trt`` as TensorRT's samples do. The signatures are in ``typings/tensorrt``, and those that only
TensorRT-RTX has in ``typings/tensorrt_rtx``; a test compares them with the installed module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import tensorrt as trt
    import tensorrt_rtx as rtx


class TensorRT(Protocol):
    """The module ``tensorrt`` or ``tensorrt_rtx``, as far as segopt uses it."""

    __version__: str
    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    DataType: type[trt.DataType]
    HardwareCompatibilityLevel: type[trt.HardwareCompatibilityLevel]
    ILogger: type[trt.ILogger]
    IProgressMonitor: type[trt.IProgressMonitor]
    LayerInformationFormat: type[trt.LayerInformationFormat]
    LayerType: type[trt.LayerType]
    MemoryPoolType: type[trt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    ProfilingVerbosity: type[trt.ProfilingVerbosity]
    Runtime: type[trt.Runtime]
    TensorIOMode: type[trt.TensorIOMode]

    @property
    def nptype(self) -> Callable[[trt.DataType], type[np.generic]]:
        """Gives numpy's type for one of TensorRT's; a TypeError where there is none."""


class TensorRtRtx(TensorRT, Protocol):
    """The module ``tensorrt_rtx``: what only it has, too."""

    ComputeCapability: type[rtx.ComputeCapability]
    CudaGraphStrategy: type[rtx.CudaGraphStrategy]


if TYPE_CHECKING:
    _: TensorRT = trt
    _of_rtx: TensorRtRtx = rtx
