"""A graph in ONNX Runtime on the CPU, for measuring and checking."""

from __future__ import annotations

from typing import Any

import onnxruntime
from onnx import ModelProto

_FATAL = 4


def cpu_session(model: ModelProto | str) -> Any:
    """A session of a model, or of the file at a path. What goes wrong is raised, and nothing is printed."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    source = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
