"""Where the network's time goes: ONNX Runtime's own profile, by node and by operator."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.errors import EngineError, first_line

_SUFFIX = "_kernel_time"
_ERRORS = 3
_INFERENCE = "model_run"
_AROUND_OTHERS = frozenset({"Loop", "If", "Scan"})
"""Operators whose time is that of the nodes in them."""


@dataclass(frozen=True)
class Share:
    """One node or operator."""

    name: str
    operator: str
    calls: float
    """In one inference."""
    milliseconds: float
    """Of one inference."""
    share: float
    """Of the time in all nodes, 0 to 1."""


@dataclass(frozen=True)
class LayerProfile:
    """Where one inference spends its time."""

    milliseconds: float
    """In all nodes; profiling itself slows the network a little."""
    operators: tuple[Share, ...]
    """All of them, the slowest first."""
    nodes: tuple[Share, ...]
    """The slowest, first."""


def profile_layers(model: Path, images: Sequence[NDArray[np.uint8]], *, most: int = 15) -> LayerProfile:
    """Profile a model on the CPU.

    Args:
        model: an ONNX file.
        images: uint8 BGR [B, H, W, 3] on the model's canvas; the first is run once more, as warm-up.
        most: how many nodes to keep.

    Raises:
        EngineError: a TensorRT plan; or ONNX Runtime cannot run the model.
    """
    if model.suffix != ".onnx":
        raise EngineError(
            f"{model}: layers are profiled in ONNX Runtime; for a plan use `trtexec --loadEngine={model} "
            "--dumpProfile --separateProfileRun`"
        )
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            for image in (images[0], *images):
                session.run(None, {"image": image})
            trace = session.end_profiling()
        except Exception as error:
            raise EngineError(f"{model}: ONNX Runtime cannot profile it ({first_line(error)})") from error
        events = json.loads(Path(trace).read_text(encoding="utf-8"))
    return summarize(events, len(images), most)


def summarize(events: Sequence[dict[str, Any]], runs: int, most: int) -> LayerProfile:
    """Add up the events of ONNX Runtime's trace, all inferences but the first.

    A node inside of a loop has an event for each turn, which its loop's own event has in it.
    """
    _, second, *_ = sorted(event["ts"] for event in events if event["name"] == _INFERENCE)
    times: defaultdict[str, float] = defaultdict(float)
    operator_of: dict[str, str] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(_SUFFIX):
            continue
        if event["ts"] >= second and event["args"]["op_name"] not in _AROUND_OTHERS:
            name = event["name"].removesuffix(_SUFFIX)
            operator_of[name] = event["args"]["op_name"]
            times[name] += event["dur"] / 1000
    per_node = {name: milliseconds / runs for name, milliseconds in times.items()}
    total = sum(per_node.values())
    operators: defaultdict[str, list[float]] = defaultdict(list)
    for name, milliseconds in per_node.items():
        operators[operator_of[name]].append(milliseconds)

    def by_time(shares: list[Share]) -> tuple[Share, ...]:
        return tuple(sorted(shares, key=lambda share: -share.milliseconds))

    return LayerProfile(
        total,
        by_time([Share(op, op, len(ms), sum(ms), sum(ms) / total) for op, ms in operators.items()]),
        by_time([Share(name, operator_of[name], 1, ms, ms / total) for name, ms in per_node.items()])[:most],
    )
