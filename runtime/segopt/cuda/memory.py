"""Arrays in the GPU's memory and in page-locked memory of the host, and pairs of the two."""

from __future__ import annotations

import ctypes
import math
from typing import Any, Protocol

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
        self._array = _view(self.handle, shape, dtype)

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


class SharedArray(Protocol):
    """An array that the host and the GPU work on in turn."""

    @property
    def array(self) -> NDArray[Any]:
        """The host's view: its memory ends with this object, so hand out copies of it."""

    @property
    def address(self) -> int:
        """Where the GPU finds it."""

    def to_device(self, stream: Stream) -> None:
        """Let the GPU see what the host wrote, in the stream's order."""

    def to_host(self, stream: Stream) -> None:
        """Let the host see what the GPU wrote, once the stream is done."""

    def close(self) -> None:
        """Give the memory back; a second time does nothing."""


class CopiedArray:
    """An array in both memories, copied from one to the other: for a GPU with memory of its own.

    Args:
        shape: of the array; the host's is zero at first.
        dtype: of the array.

    Raises:
        CudaMemoryError: one of the two has not so much memory left.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._host = PinnedArray(shape, dtype)
        self._device = DeviceArray(shape, dtype)

    @property
    def array(self) -> NDArray[Any]:
        """See :attr:`SharedArray.array`."""
        return self._host.array

    @property
    def address(self) -> int:
        """See :attr:`SharedArray.address`."""
        return self._device.address

    def to_device(self, stream: Stream) -> None:
        """See :meth:`SharedArray.to_device`."""
        self._device.copy_from(self._host, stream)

    def to_host(self, stream: Stream) -> None:
        """See :meth:`SharedArray.to_host`."""
        self._device.copy_to(self._host, stream)

    def close(self) -> None:
        """See :meth:`SharedArray.close`."""
        self._host.close()
        self._device.close()


class MappedArray(Owned):
    """An array in memory that the host and an integrated GPU share, as on a Jetson: nothing is copied.

    "Zero copy" of CUDA for Tegra (docs.nvidia.com/cuda/cuda-for-tegra-appnote), for data that either side reads
    and writes once.

    Args:
        shape: of the array; it is zero at first.
        dtype: of the array.

    Raises:
        CudaMemoryError: there is no more page-locked memory to give.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        size = _byte_count(shape, dtype)
        super().__init__(call("cudaHostAlloc", size, runtime().cudaHostAllocMapped), "cudaFreeHost")
        self._address = int(call("cudaHostGetDevicePointer", self.handle, 0))
        self._array = _view(self.handle, shape, dtype)

    @property
    def array(self) -> NDArray[Any]:
        """See :attr:`SharedArray.array`."""
        _ = self.handle
        return self._array

    @property
    def address(self) -> int:
        """See :attr:`SharedArray.address`."""
        _ = self.handle
        return self._address

    def to_device(self, stream: Stream) -> None:
        """See :meth:`SharedArray.to_device`; the GPU reads what the host wrote before the launch."""

    def to_host(self, stream: Stream) -> None:
        """See :meth:`SharedArray.to_host`; the host reads what the GPU wrote before the event it waits for."""


def shared_array(shape: tuple[int, ...], dtype: DTypeLike, *, integrated: bool) -> SharedArray:
    """An array for the host and a GPU, as fits the GPU.

    Args:
        shape: of the array.
        dtype: of the array.
        integrated: whether the GPU works in the host's memory.

    Raises:
        CudaMemoryError: there is not so much memory left.
    """
    return MappedArray(shape, dtype) if integrated else CopiedArray(shape, dtype)


def _view(handle: Any, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """The host's memory as an array of zeros."""
    memory = (ctypes.c_uint8 * _byte_count(shape, dtype)).from_address(int(handle))
    array: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
    array.fill(0)
    return array


def _byte_count(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
