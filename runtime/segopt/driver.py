"""The NVIDIA driver and the GPUs that it knows, looked up through the driver alone: no package is needed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

# cuda.h: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, CU_DEVICE_ATTRIBUTE_INTEGRATED
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18

OLDEST_CUDA = 12000
"""As CUDA counts: of TensorRT-RTX and of cuda-bindings there are packages for CUDA 12 and 13."""
_JETSON_RELEASE = Path("/etc/nv_tegra_release")
_BOARD = Path("/proc/device-tree/model")


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU."""

    name: str
    """As the driver has it: ``NVIDIA GeForce RTX 4090``, ``Orin``."""
    compute_capability: str
    """Such as ``8.9``."""
    memory: int = 0
    """Bytes."""
    integrated: bool = False
    """It works in the host's own memory, as a Jetson's does."""
    board: str = ""
    """Of a Jetson: ``NVIDIA Jetson AGX Orin Developer Kit``."""

    @property
    def model(self) -> str:
        """What tells it from other GPUs: to the driver an Orin AGX and an Orin Nano are both ``Orin``."""
        return f"{self.name} ({self.board})" if self.board else self.name


@dataclass(frozen=True)
class Driver:
    """What the NVIDIA driver says."""

    version: str
    """Its own, such as ``580.95.05``; empty where it cannot be told."""
    cuda: int = 0
    """The CUDA that it knows, as CUDA counts: 13020 is 13.2; 0 where there is no driver."""
    gpus: tuple[Gpu, ...] = ()
    """Those that CUDA sees (``CUDA_VISIBLE_DEVICES`` counts), in its order."""
    error: str = ""
    """Why there is none; empty where all is well."""


def find_driver() -> Driver:
    """Ask ``libcuda.so.1``, which every NVIDIA driver installs."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Driver(_driver_version(), error="libcuda.so.1 is not installed")
    if code := cuda.cuInit(0):
        return Driver(_driver_version(), error=f"cuInit says {_error(cuda, code)}")
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    version = number.value
    cuda.cuDeviceGetCount(ctypes.byref(number))
    return Driver(_driver_version(), version, tuple(_gpu(cuda, ordinal) for ordinal in range(number.value)))


def find_gpu() -> Gpu | None:
    """The first GPU that CUDA sees, or None."""
    return next(iter(find_driver().gpus), None)


def why_no_gpu() -> str:
    """What the driver says where :func:`find_gpu` finds none."""
    return find_driver().error or "the driver lists no GPU"


def jetson_board() -> str:
    """The name of the Jetson that this is, as its firmware says it; empty on other machines."""
    if not _JETSON_RELEASE.exists():
        return ""
    try:
        return _BOARD.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return "Jetson"


def cuda_version_text(number: int) -> str:
    """``13.2`` from CUDA's 13020."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _gpu(cuda: ctypes.CDLL, ordinal: int) -> Gpu:
    device, major, minor, integrated = (ctypes.c_int() for _ in range(4))
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), ordinal)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(integrated), _INTEGRATED, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    board = jetson_board() if integrated.value else ""
    capability = f"{major.value}.{minor.value}"
    return Gpu(name.value.decode(), capability, memory.value, bool(integrated.value), board)


def _error(cuda: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(text))
    return (text.value or b"an unknown error").decode()


def _driver_version() -> str:
    """From NVML, or from /proc where NVML is missing (Jetson); or empty."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        text = ctypes.create_string_buffer(96)
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(text, len(text)) == 0:
            return text.value.decode()
    except (OSError, AttributeError):
        pass
    try:
        words = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0].split()
    except (OSError, IndexError):
        return ""
    return next((word for word in words if word[:1].isdigit() and "." in word), "")
