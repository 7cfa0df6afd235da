"""Backends: what runs a model file. One base class, one module for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from segopt.backends.base import Backend, Pending
from segopt.errors import UsageError

Device = Literal["auto", "cpu", "cuda", "tensorrt"]

__all__ = ["Backend", "Device", "Pending", "open_backend"]


def open_backend(path: Path, device: Device) -> Backend:
    """The backend that runs a model file, chosen by the file's kind.

    Args:
        path: ``NAME.onnx``, which ONNX Runtime runs, or ``NAME.plan``, which TensorRT runs.
        device: ``auto`` takes a GPU where one works, ``cpu`` and ``cuda`` insist, ``tensorrt`` is ONNX Runtime's
            TensorRT provider. A plan runs on a GPU alone.

    Raises:
        EngineError: the file cannot be loaded on this machine.
        UsageError: a device that there is none of, or that a plan does not run on.
    """
    if device not in get_args(Device):
        raise UsageError(f"device {device!r} is unknown; it is one of {', '.join(get_args(Device))}")
    if path.suffix == ".plan":
        if device == "cpu":
            raise UsageError(f"{path}: a TensorRT plan runs on a GPU alone; for the CPU give the ONNX file")
        from segopt.backends.tensorrt import TensorRtBackend

        return TensorRtBackend(path)
    from segopt.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device)
