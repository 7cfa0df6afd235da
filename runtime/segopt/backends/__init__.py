"""Backends: what runs a model file. One protocol, one module for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from segopt.backends.base import Backend
from segopt.errors import EngineError, UsageError

Device = Literal["auto", "cpu", "cuda"]

__all__ = ["Backend", "Device", "open_backend"]


def open_backend(path: Path, device: Device) -> Backend:
    """The backend that runs a model file, chosen by the file's kind.

    Raises:
        EngineError: the file cannot be loaded on this machine.
        UsageError: a device that there is none of.
    """
    if device not in get_args(Device):
        raise UsageError(f"device {device!r} is unknown; it is one of {', '.join(get_args(Device))}")
    if path.suffix == ".plan":
        raise EngineError(
            f"{path}: TensorRT plans cannot be run by this version of segopt; "
            f"run the ONNX file that it was built from ({path.stem}.onnx)"
        )
    from segopt.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device)
