"""The GPU that TensorRT would build for, looked up through the driver alone."""

from __future__ import annotations

from dataclasses import dataclass

from segopt import probes


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU."""

    name: str
    """As the driver has it: ``NVIDIA GeForce RTX 4090``, ``Orin``."""
    capability: str
    """Compute capability, ``8.9``."""


def find_gpu() -> Gpu | None:
    """The first GPU that CUDA sees (``CUDA_VISIBLE_DEVICES`` counts), or None. Needs no package but the driver."""
    gpus = probes.gpu()["gpus"]
    return Gpu(gpus[0]["name"], gpus[0]["capability"]) if gpus else None


def why_no_gpu() -> str:
    """What the driver says where :func:`find_gpu` finds none."""
    return str(probes.gpu()["error"]) or "the driver lists no GPU"
