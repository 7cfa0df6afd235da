"""Calls of the CUDA runtime whose return codes are exceptions, and handles that are given back once."""

from __future__ import annotations

import contextlib
import weakref
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from segopt.errors import EngineError, first_line

if TYPE_CHECKING:
    from typing_extensions import Self


class CudaError(EngineError):
    """A call of the CUDA runtime failed."""

    def __init__(self, function: str, code: str, reason: str) -> None:
        super().__init__(f"{function} failed: {reason} ({code})")
        self.function = function
        """Such as ``cudaMalloc``."""
        self.code = code
        """CUDA's name of it, such as ``cudaErrorMemoryAllocation``."""


class CudaMemoryError(CudaError):
    """Neither the GPU nor the host has that much memory left to hand out."""


@cache
def runtime() -> Any:
    """The module ``cuda.bindings.runtime``.

    Raises:
        EngineError: it is not installed, or does not load.
    """
    try:
        from cuda.bindings import runtime
    except Exception as error:  # A broken native library raises more than ImportError.
        raise EngineError(
            f"cuda-bindings is not usable ({first_line(error)}); install it with `pip install cuda-bindings`, "
            "or 'cuda-bindings<13' with a driver of CUDA 12"
        ) from None
    return runtime


def call(function: str, *arguments: Any) -> Any:
    """Call a function of the CUDA runtime.

    Args:
        function: its name, such as ``cudaMalloc``.
        arguments: as cuda-bindings takes them.

    Returns:
        What the function gives beside its return code: nothing, one value, or a tuple of them.

    Raises:
        CudaError: the return code was not ``cudaSuccess``.
    """
    cuda = runtime()
    code, *values = getattr(cuda, function)(*arguments)
    if code != cuda.cudaError_t.cudaSuccess:
        kind = CudaMemoryError if code == cuda.cudaError_t.cudaErrorMemoryAllocation else CudaError
        # A failed call also leaves its code behind for the next to ask; a later, good call must not find it.
        cuda.cudaGetLastError()
        raise kind(function, code.name, cuda.cudaGetErrorString(code)[1].decode())
    return values[0] if len(values) == 1 else tuple(values) or None


@cache
def driver() -> Any:
    """The module ``cuda.bindings.driver``; :func:`runtime` says what is wrong where there is none."""
    from cuda.bindings import driver

    return driver


def driver_call(function: str, *arguments: Any) -> Any:
    """As :func:`call`, with a function of the driver, such as ``cuCtxGetCurrent``."""
    cuda = driver()
    code, *values = getattr(cuda, function)(*arguments)
    if code != cuda.CUresult.CUDA_SUCCESS:
        raise CudaError(function, code.name, "the driver refuses")
    return values[0] if len(values) == 1 else tuple(values) or None


class Owned:
    """A handle of CUDA that is given back by :meth:`close`, or when nobody refers to this object any more.

    Giving back never raises: where it fails the device is lost to this process, and the call that lost it has
    already said so.
    """

    def __init__(self, handle: Any, release: str) -> None:
        """Own ``handle``, which ``release`` (a function's name) gives back."""
        self._handle = handle
        self._release = weakref.finalize(self, _give_back, release, handle)

    @property
    def handle(self) -> Any:
        """As cuda-bindings takes it.

        Raises:
            EngineError: it was closed.
        """
        if not self._release.alive:
            raise EngineError(f"this {type(self).__name__} was closed")
        return self._handle

    def close(self) -> None:
        """Give it back; a second time does nothing."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _give_back(release: str, handle: Any) -> None:
    with contextlib.suppress(CudaError):
        call(release, handle)
