"""Execution providers of ONNX Runtime: which to ask for, and finding the libraries that they load."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segopt.driver import find_driver
from segopt.errors import EngineError
from segopt.files.hashing import sha256_of_file

if TYPE_CHECKING:
    from segopt.device import Device, Kind

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

TITLES: Mapping[str, str] = {CPU: "CPU", CUDA: "CUDA", TENSORRT: "TensorRT"}

_WANTED: Mapping[Kind, tuple[str, ...]] = {
    "auto": (CUDA, CPU),
    "cpu": (CPU,),
    "cuda": (CUDA, CPU),
    "tensorrt": (TENSORRT, CUDA, CPU),
}
_INSISTED: Mapping[Kind, str] = {"cuda": CUDA, "tensorrt": TENSORRT}


def wanted_providers(ort: Any, device: Device, model: Path) -> list[tuple[str, dict[str, Any]]]:
    """Providers to create a session with, the best first, each with its options.

    Args:
        ort: the module ``onnxruntime``.
        device: where to run; what it insists on must be compiled in.
        model: the ONNX file; TensorRT's engines are kept beside it.

    Raises:
        EngineError: this ONNX Runtime has no such provider.
    """
    available = ort.get_available_providers()
    insisted = _INSISTED.get(device.kind)
    if insisted is not None and insisted not in available:
        raise EngineError(
            f"this ONNX Runtime has no {TITLES[insisted]} provider; install the GPU build with "
            "`pip install 'segopt[gpu]'`, or run with --device cpu"
        )
    names = [name for name in _WANTED[device.kind] if name in available]
    return [(name, _options(name, device, model)) for name in names]


def check_provider(provider: str, device: Device, model: Path) -> None:
    """Refuse the fall back to another provider that ONNX Runtime makes in silence.

    Args:
        provider: the first of a session's.
        device: what the session was asked for.
        model: the ONNX file, for the message.

    Raises:
        EngineError: it is not the one that the device insists on.
    """
    insisted = _INSISTED.get(device.kind)
    gpus = len(find_driver().gpus) if device.number else 0
    if insisted is not None and provider != insisted and 0 < gpus <= device.number:
        raise EngineError(
            f"{model}: there is no GPU {device.number} for --device {device.kind}:{device.number}; CUDA sees "
            f"{gpus}, counted from 0 (CUDA_VISIBLE_DEVICES chooses them)"
        )
    if insisted is not None and provider != insisted:
        raise EngineError(
            f"{model}: ONNX Runtime could not start its {TITLES[insisted]} provider (the driver or its libraries "
            "do not load); `segopt doctor` says what is missing, --device cpu runs without a GPU"
        )


def preload_libraries(ort: Any, device: Device) -> None:
    """Load the libraries of the GPU providers from pip's packages, so that no LD_LIBRARY_PATH is needed.

    ``preload_dlls`` came with ONNX Runtime 1.21; it prints what it misses, which the session's providers tell
    better. What cannot be loaded is left to them.
    """
    with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
        if device.kind != "cpu" and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
    with contextlib.suppress(Exception):
        if device.kind == "tensorrt":
            # Its wheel carries libnvinfer and loads it.
            importlib.import_module("tensorrt")


def _options(provider: str, device: Device, model: Path) -> dict[str, Any]:
    if provider == CPU:
        return {}
    return {"device_id": str(device.number), **(_engine_cache(model) if provider == TENSORRT else {})}


def _engine_cache(model: Path) -> dict[str, Any]:
    """Keep the engines that the provider builds, in ``NAME.onnx.trt`` beside the model.

    ONNX Runtime asks to empty its cache when a model changes (a warning in TensorRT-ExecutionProvider.md): a
    folder for each content of the file keeps an engine from being taken for another one's. Where none can be made,
    nothing is kept.
    """
    try:
        folder = model.with_name(model.name + ".trt") / sha256_of_file(model)[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return {}
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),
    }
