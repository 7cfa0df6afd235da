"""``--device auto`` without an NVIDIA GPU: ONNX Runtime or OpenVINO, whichever was measured faster on this file.

Where OpenVINO is not installed there is nothing to choose. The two are timed once for each file, machine, number
of threads and pair of versions, and the times are kept in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from segopt import processor
from segopt.agreement import bounds_for, compare
from segopt.backends.base import Backend, Tensors
from segopt.driver import find_driver
from segopt.errors import EngineError, SegoptError
from segopt.files import cache
from segopt.files.hashing import sha256_of_file
from segopt.model.reading import read_card
from segopt.version import installed_version

if TYPE_CHECKING:
    from segopt.backends.openvino_compile import Hint

SWITCH = "SEGOPT_AUTO_OPENVINO"
"""Environment variable: ``off`` leaves ONNX Runtime the CPU."""
_MARGIN = 0.95
"""Share of ONNX Runtime's time that OpenVINO must stay below: a draw changes nothing."""
_ROUNDS = (3, 15)
"""At least and at most; between them it ends after so many seconds:"""
_SECONDS = 1.5
_REST_SECONDS = 0.02
"""Between two runs: threads that still spin would take the cores from the other one."""


@dataclass(frozen=True)
class Times:
    """What the two took on a file."""

    onnxruntime: float
    """Milliseconds an inference, the median; so the other."""
    openvino: float | None
    """None where it does not run the file, or answers otherwise."""
    reason: str = ""
    """Then why."""

    @property
    def openvino_is_faster(self) -> bool:
        """By more than chance."""
        return self.openvino is not None and self.openvino < _MARGIN * self.onnxruntime


def can_choose() -> bool:
    """Whether there is a choice: OpenVINO is installed and not switched off, and there is no NVIDIA GPU.

    Neither of the two is imported for it.
    """
    if os.environ.get(SWITCH, "").lower() == "off" or importlib.util.find_spec("openvino") is None:
        return False
    return importlib.util.find_spec("onnxruntime") is not None and not find_driver().gpus


def settled(device: str, path: Path) -> str:
    """A device that no timing decides on: ``cpu`` for ``auto`` without an NVIDIA GPU, where the file is no plan.

    For jobs whose parts are computed by several machines, or by several processes one after the other.
    """
    return "cpu" if device == "auto" and path.suffix != ".plan" and not find_driver().gpus else device


def faster(path: Path, threads: int | None, hint: Hint) -> Backend:
    """Open a file with the faster of the two; where that is not known, both are timed.

    Raises:
        EngineError: ONNX Runtime cannot load it.
    """
    name = _name(path, threads)
    times, when = _recall(name), "measured earlier"
    if times is None:
        times, when = _measure(path, threads), "measured now"
        cache.keep(name, json.dumps(asdict(times)).encode())
    if times.openvino_is_faster:
        try:
            backend = _openvino(path, threads, hint)
        except EngineError:
            # It did when it was timed.
            cache.forget(name)
        else:
            backend.notes = (_said(backend, times, when), *backend.notes)
            return backend
    backend = _onnxruntime(path, threads)
    backend.notes = (_said(backend, times, when),)
    return backend


def _said(backend: Backend, times: Times, when: str) -> str:
    other = f"OpenVINO {times.openvino:.1f} ms" if times.openvino is not None else f"OpenVINO {times.reason}"
    return f"device auto takes {backend.name}: ONNX Runtime {times.onnxruntime:.1f} ms, {other} ({when})"


def _measure(path: Path, threads: int | None) -> Times:
    first = _onnxruntime(path, threads)
    with contextlib.closing(first):
        shape = first.inputs["image"].shape
        inputs = {"image": np.random.default_rng(0).integers(0, 256, shape, np.uint8)}
        expected = first.infer(inputs)
        try:
            second = _openvino(path, threads, "latency")
        except SegoptError:
            return Times(_time([first], inputs)[0], None, "does not load it")
        with contextlib.closing(second):
            try:
                found = second.infer(inputs)
                ours, theirs = _time([first, second], inputs)
            except EngineError:
                return Times(_time([first], inputs)[0], None, "does not run it")
    card = read_card(path)
    bounds = bounds_for(card.precision, random=any(origin.is_random for origin in card.weights.values()))
    if not all(figure.good for figure in compare(expected, found, bounds)):
        return Times(ours, None, "gives another answer")
    return Times(ours, theirs)


def _time(backends: Sequence[Backend], inputs: Tensors) -> list[float]:
    """Milliseconds of each, the median of rounds in turn."""
    taken: list[list[float]] = [[] for _ in backends]
    began = time.monotonic()
    for i in range(_ROUNDS[1]):
        if i >= _ROUNDS[0] and time.monotonic() - began > _SECONDS:
            break
        for k in range(len(backends)):
            who = (k + i) % len(backends)
            time.sleep(_REST_SECONDS)
            start = time.perf_counter()
            backends[who].infer(inputs)
            taken[who].append(1000 * (time.perf_counter() - start))
    return [median(each) for each in taken]


def _onnxruntime(path: Path, threads: int | None) -> Backend:
    from segopt.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, "auto", threads=threads)


def _openvino(path: Path, threads: int | None, hint: Hint) -> Backend:
    from segopt.backends.openvino import OpenVinoBackend
    from segopt.backends.openvino_compile import Settings

    return OpenVinoBackend(path, Settings(threads=threads, hint=hint))


def _name(path: Path, threads: int | None) -> str:
    # By their metadata: importing OpenVINO takes half a second, and it may not be the one that is taken.
    versions = [installed_version(name) for name in ("onnxruntime", "onnxruntime-gpu", "openvino")]
    return "device-auto-" + cache.key_of(
        sha256_of_file(path), versions, processor.name(), sorted(processor.flags()), processor.cores(), threads
    )


def _recall(name: str) -> Times | None:
    kept = cache.read(name)
    if kept is None:
        return None
    try:
        return Times(**json.loads(kept))
    except (ValueError, TypeError):
        return None
