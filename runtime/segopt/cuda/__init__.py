"""CUDA through ``cuda-bindings``: the one place of segopt that calls it.

Small types own what CUDA hands out (memory, streams, events, graphs); every call that fails becomes a
:class:`CudaError` with the call's name. Work is done on the thread's current GPU, which :func:`on_device` chooses.
Importing this package does not need ``cuda-bindings``; using it does.
"""

from segopt.cuda.calls import CudaError, CudaMemoryError, call
from segopt.cuda.device import device_memory, on_device, require_gpu
from segopt.cuda.graph import Graph, capture
from segopt.cuda.memory import CopiedArray, DeviceArray, MappedArray, PinnedArray, SharedArray, shared_array
from segopt.cuda.stream import Event, Stream

__all__ = [
    "CopiedArray",
    "CudaError",
    "CudaMemoryError",
    "DeviceArray",
    "Event",
    "Graph",
    "MappedArray",
    "PinnedArray",
    "SharedArray",
    "Stream",
    "call",
    "capture",
    "device_memory",
    "on_device",
    "require_gpu",
    "shared_array",
]
