"""Backends: what runs a model file. One protocol, one module for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from segopt.backends.base import Backend, TensorSpec
from segopt.errors import EngineError

Device = Literal["auto", "cpu", "cuda"]

__all__ = ["Backend", "Device", "TensorSpec", "open_backend"]


def open_backend(path: Path, device: Device) -> Backend:
    """The backend that runs a model file, chosen by the file's kind.

    Raises:
        EngineError: the file cannot be loaded on this machine.
    """
    if path.suffix == ".plan":
        raise EngineError(
            f"{path}: TensorRT plans cannot be run by this version of segopt; "
            f"run the ONNX file that it was built from ({path.stem}.onnx)"
        )
    from segopt.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device)
