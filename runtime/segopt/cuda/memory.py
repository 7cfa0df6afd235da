"""Arrays in the GPU's memory, and their counterparts in page-locked memory of the host."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from segopt.cuda.calls import Owned, call, runtime
from segopt.cuda.stream import Stream


class PinnedArray(Owned):
    """A numpy array in page-locked memory, which the GPU copies from and to without the CPU.

    Args:
        shape: of the array; it is zero at first.
        dtype: of the array.

    Raises:
        CudaMemoryError: the host has no more page-locked memory to give.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        size = _byte_count(shape, dtype)
        super().__init__(call("cudaHostAlloc", size, runtime().cudaHostAllocDefault), "cudaFreeHost")
        memory = (ctypes.c_uint8 * size).from_address(int(self.handle))
        self._array: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
        self._array.fill(0)

    @property
    def array(self) -> NDArray[Any]:
        """The array itself: its memory ends with this object, so hand out copies of it."""
        _ = self.handle
        return self._array


class DeviceArray(Owned):
    """Memory of the GPU for one array.

    Raises:
        CudaMemoryError: the GPU has not so much memory left.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.size = _byte_count(shape, dtype)
        """Bytes."""
        super().__init__(call("cudaMalloc", self.size), "cudaFree")

    @property
    def address(self) -> int:
        """Where it starts in the GPU's memory."""
        return int(self.handle)

    def copy_from(self, source: PinnedArray, stream: Stream) -> None:
        """Put a copy from the host into the stream; the source must stay as it is until that is done."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyHostToDevice
        call("cudaMemcpyAsync", self.handle, source.handle, self.size, kind, stream.handle)

    def copy_to(self, target: PinnedArray, stream: Stream) -> None:
        """Put a copy to the host into the stream; the target holds it once that is done."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
        call("cudaMemcpyAsync", target.handle, self.handle, self.size, kind, stream.handle)


def _byte_count(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
