"""Backends: what runs a model file. One base class, one module for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segopt.backends.base import Backend, Pending
from segopt.device import Device, parse_device
from segopt.errors import UsageError

if TYPE_CHECKING:
    from segopt.backends.openvino_compile import Hint, InferencePrecision

__all__ = ["Backend", "Pending", "open_backend"]


def open_backend(
    path: Path,
    device: str,
    threads: int | None = None,
    *,
    inference_precision: InferencePrecision | None = None,
    hint: Hint = "latency",
) -> Backend:
    """The backend that runs a model file, chosen by the file's kind.

    Args:
        path: ``NAME.onnx``, which ONNX Runtime or OpenVINO runs, or ``NAME.plan``, which TensorRT runs.
        device: ``auto`` takes a GPU where one works, else the faster of ONNX Runtime and OpenVINO, see
            :mod:`segopt.backends.choice`; ``cpu`` and ``cuda`` insist on ONNX Runtime, ``tensorrt`` is its
            TensorRT provider; ``cuda:1`` is the second GPU. ``openvino`` is OpenVINO on the CPU, ``openvino:GPU``
            and ``openvino:NPU`` on Intel's others. A plan runs on an NVIDIA GPU alone.
        threads: CPU threads of ONNX Runtime or OpenVINO; None takes one for each core. A plan has no use for them.
        inference_precision: OpenVINO's: ``f32``, or ``bf16`` where the device has it; None is ``f32``.
        hint: OpenVINO's: ``latency`` computes one inference at a time with all threads, ``throughput`` several at
            once with fewer each.

    Raises:
        EngineError: the file cannot be loaded on this machine.
        UsageError: a device that there is none of, or that a plan does not run on; an inference precision that
            there is none of, or on another device than OpenVINO's.
    """
    where = parse_device(device)
    if inference_precision is not None:
        _check_precision(inference_precision, where, device)
    if path.suffix == ".plan":
        if not where.on_nvidia:
            raise UsageError(
                f"{path}: a TensorRT plan runs on a GPU alone, NVIDIA's; for --device {device} give the ONNX file"
            )
        from segopt.backends.tensorrt import TensorRtBackend

        return TensorRtBackend(path, device=where.number)
    if where.kind == "openvino":
        from segopt.backends.openvino import OpenVinoBackend
        from segopt.backends.openvino_compile import Settings

        return OpenVinoBackend(path, Settings(where.target, threads, inference_precision or "f32", hint))
    if where.kind == "auto":
        from segopt.backends.choice import can_choose, faster

        if can_choose():
            return faster(path, threads, hint)
    from segopt.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device, threads=threads)


def _check_precision(asked: str, where: Device, device: str) -> None:
    from segopt.backends.openvino_compile import PRECISIONS

    if asked not in PRECISIONS:
        raise UsageError(f"--inference-precision {asked}: is neither {' nor '.join(PRECISIONS)}")
    if where.kind != "openvino":
        raise UsageError(
            f"--inference-precision is OpenVINO's, and the device is {device}; add --device openvino, or leave it "
            "out"
        )
