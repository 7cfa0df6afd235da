"""ONNX files into OpenVINO's compiled models, which are kept from one run to the next."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from segopt import processor
from segopt.backends.openvino_bf16 import read_in_bf16
from segopt.backends.openvino_rewrites import rewrite_for_bf16
from segopt.errors import EngineError, SegoptError, UsageError, first_line
from segopt.files import cache
from segopt.files.hashing import sha256_of_file
from segopt.model.tensors import MASK_BLOCK, MASK_LOOP, MASK_SCORE

InferencePrecision = Literal["f32", "bf16"]
PRECISIONS: tuple[InferencePrecision, ...] = get_args(InferencePrecision)
Hint = Literal["latency", "throughput"]
HINTS: tuple[Hint, ...] = get_args(Hint)

_REVISION = 3
"""Of what is done to a model before it is compiled: what another one made is not taken from the cache."""


@dataclass(frozen=True)
class Settings:
    """How OpenVINO is to run a model."""

    target: str = "CPU"
    """``CPU``, ``GPU`` or ``NPU``, as OpenVINO calls its devices; ``GPU.1`` is the second."""
    threads: int | None = None
    """That compute on the CPU; None leaves it to OpenVINO, which takes one for each core."""
    precision: InferencePrecision = "f32"
    hint: Hint = "latency"
    """One inference at a time with all threads, or several at once with fewer each."""

    def config(self) -> dict[str, Any]:
        """As OpenVINO names it."""
        config: dict[str, Any] = {"PERFORMANCE_HINT": self.hint.upper()}
        if self.precision == "f32":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        else:
            # The types that are in the graph, and no others.
            config["EXECUTION_MODE_HINT"] = "ACCURACY"
        if self.threads is not None and self.target == "CPU":
            config["INFERENCE_NUM_THREADS"] = self.threads
        return config


def import_openvino() -> Any:
    """The module ``openvino``.

    Raises:
        EngineError: it is not installed, or does not load.
    """
    try:
        import openvino
    except ImportError as error:
        raise EngineError(
            f"OpenVINO is not usable ({first_line(error)}); install it with `pip install 'segopt[openvino]'`"
        ) from None
    return openvino


def version_of(ov: Any) -> str:
    """Such as ``2026.4.1``."""
    return str(ov.__version__).partition("-")[0]


def has_bf16(core: Any, target: str) -> bool:
    """Whether a device of OpenVINO's computes in bf16."""
    return "BF16" in core.get_property(target, "OPTIMIZATION_CAPABILITIES")


def compile_model(ov: Any, core: Any, path: Path, settings: Settings) -> Any:
    """An ONNX file as OpenVINO's compiled model, from the cache where it is there.

    Raises:
        EngineError: OpenVINO has no such device, or cannot load the file.
        UsageError: bf16 on a device that has none, or of a file that has no half precision in it.
    """
    target = settings.target
    if not any(device.partition(".")[0] == target.partition(".")[0] for device in core.available_devices):
        raise EngineError(
            f"OpenVINO {version_of(ov)} finds no {target} on this machine; it has "
            f"{', '.join(core.available_devices) or 'no device'}"
        )
    if settings.precision == "bf16" and not has_bf16(core, target):
        raise UsageError(
            f"--inference-precision bf16: OpenVINO's {target} ({core.get_property(target, 'FULL_DEVICE_NAME')}) "
            f"computes in {', '.join(core.get_property(target, 'OPTIMIZATION_CAPABILITIES'))}, and has no bf16; "
            "leave the option out"
        )
    try:
        return _kept_or_compiled(ov, core, path, settings)
    except SegoptError:
        raise
    except Exception as error:
        raise EngineError(
            f"{path}: OpenVINO {version_of(ov)} cannot load it for {target} ({first_line(error)}); leave "
            "--device out, or update openvino"
        ) from error


def _kept_or_compiled(ov: Any, core: Any, path: Path, settings: Settings) -> Any:
    config = settings.config()
    name = "openvino-" + cache.key_of(
        _REVISION,
        sha256_of_file(path),
        ov.__version__,
        core.get_property(settings.target, "FULL_DEVICE_NAME"),
        sorted(processor.flags()),
        processor.cores(),
        settings,
        sorted(config.items()),
    )
    kept = cache.read(name)
    if kept is not None:
        # Its bytes are those that were written; what another release made is under another name.
        with contextlib.suppress(Exception):
            return core.import_model(kept, settings.target, config)
        cache.forget(name)
    if settings.precision == "bf16":
        model = read_in_bf16(ov, core, path)
        if settings.target == "CPU":
            rewrite_for_bf16(ov, model)
    else:
        model = core.read_model(str(path))
    prepare_masks(ov, model, fixed=settings.target.startswith("NPU"))
    compiled = core.compile_model(model, settings.target, config)
    # Not every device can.
    with contextlib.suppress(Exception):
        cache.keep(name, compiled.export_model().getvalue())
    return compiled


def prepare_masks(ov: Any, model: Any, *, fixed: bool = False) -> None:
    """Where masks are computed in a loop, make :data:`MASK_SCORE`, which OpenVINO takes for a constant, an input.

    Args:
        ov: the module ``openvino``.
        model: an ``openvino.Model``, which is changed.
        fixed: have the loop run for all slots instead, for a device that wants to know how often it does.
    """
    nodes = {node.get_friendly_name(): node for node in model.get_ops()}
    if MASK_SCORE not in nodes:
        return
    if fixed:
        slots, block = nodes[MASK_LOOP].output(0).get_shape()[0], int(nodes[MASK_BLOCK].get_data())
        turns = ov.opset13.constant(-(-slots // block), np.int64)
        nodes[MASK_LOOP].input(0).replace_source_output(turns.output(0))
        return
    lowest = ov.opset13.parameter([], np.float32, name=MASK_SCORE)
    lowest.output(0).get_tensor().set_names({MASK_SCORE})
    nodes[MASK_SCORE].output(0).replace(lowest.output(0))
    model.add_parameters([lowest])
