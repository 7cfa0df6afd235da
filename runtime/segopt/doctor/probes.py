"""Looks into one package or driver; ``segopt.doctor.examine`` runs each probe as a process of its own.

A package whose native library is broken may raise, hang or kill the interpreter ("Illegal instruction" of a NumPy
built for another CPU), and a doctor must outlive that. So this file is also a script, ``python probes.py NAME``,
that prints one JSON object; it imports only the package that it was asked for, and two small modules of segopt.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segopt.driver import find_driver
from segopt.errors import first_line

Facts = dict[str, Any]


def numpy() -> Facts:
    """Version."""
    import numpy

    return {"version": numpy.__version__}


def opencv() -> Facts:
    """Version, and the lines of its build that decide on windows and cameras."""
    import cv2

    lines = (line.strip().partition(":") for line in cv2.getBuildInformation().splitlines())
    build = {key.strip(): value.strip() for key, _, value in lines if value.strip()}
    return {
        "version": cv2.__version__,
        "gui": build.get("GUI", "NONE"),
        "gstreamer": build.get("GStreamer", "NO"),
        "ffmpeg": build.get("FFMPEG", "NO"),
    }


def pyav() -> Facts:
    """Version, FFmpeg's libraries, and which H.264 encoders are compiled in."""
    import av

    encoders = []
    for name in ("libx264", "h264_nvenc", "libopenh264"):
        try:
            av.Codec(name, "w")
        except ValueError:  # av.codec.codec.UnknownCodecError is one.
            continue
        encoders.append(name)
    avcodec = av.library_versions["libavcodec"]
    return {"version": av.__version__, "encoders": encoders, "avcodec": ".".join(map(str, avcodec))}


def onnxruntime() -> Facts:
    """Version, execution providers that were compiled in, and why those for GPUs do not load."""
    import onnxruntime

    providers = list(onnxruntime.get_available_providers())
    trouble = {
        f"{name.lower()}_trouble": _provider_trouble(onnxruntime, name.lower())
        if f"{name}ExecutionProvider" in providers
        else ""
        for name in ("CUDA", "Tensorrt")
    }
    return {"version": onnxruntime.__version__, "providers": providers, **trouble}


def openvino() -> Facts:
    """Version, the devices that it finds, and what they compute in."""
    import openvino

    core = openvino.Core()
    devices = {name: list(core.get_property(name, "OPTIMIZATION_CAPABILITIES")) for name in core.available_devices}
    return {"version": str(openvino.__version__).partition("-")[0], "devices": devices}


def _provider_trouble(onnxruntime: Any, name: str) -> str:
    """What the dynamic linker says against a provider, ``cuda`` or ``tensorrt``; empty where it loads."""
    with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()
    with contextlib.suppress(Exception):
        if name == "tensorrt":
            # As a run does: the wheel carries libnvinfer and loads it.
            importlib.import_module("tensorrt")
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for library in ("libonnxruntime_providers_shared.so", f"libonnxruntime_providers_{name}.so"):
            ctypes.CDLL(str(folder / library))
    except OSError as error:
        return first_line(error)
    return ""


def tensorrt(module: str = "tensorrt") -> Facts:
    """Version of one flavor of TensorRT, and whether its builder is there."""
    package = importlib.import_module(module)
    return {"version": str(package.__version__), "builder": hasattr(package, "Builder")}


def tensorrt_lean() -> Facts:
    """As :func:`tensorrt`."""
    return tensorrt("tensorrt_lean")


def tensorrt_rtx() -> Facts:
    """As :func:`tensorrt`."""
    return tensorrt("tensorrt_rtx")


def cuda_bindings() -> Facts:
    """Version of cuda-bindings; its driver module must load."""
    import cuda.bindings
    from cuda.bindings import driver, runtime

    version = getattr(cuda.bindings, "__version__", "")
    return {"version": version, "cuda": getattr(driver, "CUDA_VERSION", getattr(runtime, "CUDART_VERSION", 0))}


def gpu() -> Facts:
    """What :func:`segopt.driver.find_driver` finds."""
    return asdict(find_driver())


PROBES: dict[str, Callable[[], Facts]] = {
    "numpy": numpy,
    "opencv": opencv,
    "pyav": pyav,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "tensorrt": tensorrt,
    "tensorrt_lean": tensorrt_lean,
    "tensorrt_rtx": tensorrt_rtx,
    "cuda_bindings": cuda_bindings,
    "gpu": gpu,
}


def main(name: str) -> None:
    """Print the facts of one probe, or ``{"broken": reason}``, as the last line of the output."""
    try:
        facts = PROBES[name]()
    except BaseException as error:  # A module's import can raise anything, SystemExit included.
        name, reason = type(error).__name__, first_line(error)
        facts = {"broken": name if reason == name else f"{name}: {reason}"}
    print("\n" + json.dumps(facts), flush=True)


if __name__ == "__main__":
    # A script's own folder comes first on sys.path, where segopt's modules would pass for top-level ones.
    sys.path.pop(0)
    main(sys.argv[1])
