"""Backends: what runs a model file. One base class, one module for each of them."""

from __future__ import annotations

from pathlib import Path

from segopt.backends.base import Backend, Pending
from segopt.device import parse_device
from segopt.errors import UsageError

__all__ = ["Backend", "Pending", "open_backend"]


def open_backend(path: Path, device: str, threads: int | None = None) -> Backend:
    """The backend that runs a model file, chosen by the file's kind.

    Args:
        path: ``NAME.onnx``, which ONNX Runtime runs, or ``NAME.plan``, which TensorRT runs.
        device: ``auto`` takes a GPU where one works, ``cpu`` and ``cuda`` insist, ``tensorrt`` is ONNX Runtime's
            TensorRT provider; ``cuda:1`` is the second GPU. ``openvino`` is OpenVINO on the CPU,
            ``openvino:GPU`` and ``openvino:NPU`` on Intel's others. A plan runs on an NVIDIA GPU alone.
        threads: CPU threads of ONNX Runtime or OpenVINO; None takes one for each core. A plan has no use for them.

    Raises:
        EngineError: the file cannot be loaded on this machine.
        UsageError: a device that there is none of, or that a plan does not run on.
    """
    where = parse_device(device)
    if path.suffix == ".plan":
        if not where.on_nvidia:
            raise UsageError(
                f"{path}: a TensorRT plan runs on a GPU alone, NVIDIA's; for --device {device} give the ONNX file"
            )
        from segopt.backends.tensorrt import TensorRtBackend

        return TensorRtBackend(path, device=where.number)
    if where.kind == "openvino":
        from segopt.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(path, where.target, threads=threads)
    from segopt.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device, threads=threads)
