"""ONNX Runtime: the CPU by default, an NVIDIA GPU where its CUDA provider is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segopt.contract import TensorSpec
from segopt.errors import EngineError

if TYPE_CHECKING:
    from segopt.backends import Device

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_DTYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
}
_FATAL = 4


class OnnxRuntimeBackend:
    """A model in ONNX Runtime.

    Args:
        path: the ONNX file.
        device: ``auto`` takes the GPU where one works, ``cuda`` insists on it.

    Raises:
        EngineError: ONNX Runtime is not installed, the device is not there, or the file does not load.
    """

    def __init__(self, path: Path, device: Device = "auto") -> None:
        ort = _import_onnxruntime()
        self._path = path
        session = _create_session(ort, path, _providers(ort, device))
        provider = session.get_providers()[0]
        if device == "cuda" and provider != _CUDA:
            raise EngineError(
                f"{path}: ONNX Runtime could not start its CUDA provider (CUDA or cuDNN libraries do not load); "
                "`segopt doctor` says what is missing, --device cpu runs without a GPU"
            )
        self._session: Any = session
        self.name = f"ONNX Runtime {ort.__version__} ({'CUDA' if provider == _CUDA else 'CPU'})"
        self.inputs: Mapping[str, TensorSpec] = {node.name: _spec(node, path) for node in session.get_inputs()}
        self.outputs: Mapping[str, TensorSpec] = {node.name: _spec(node, path) for node in session.get_outputs()}

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """See :meth:`segopt.backends.Backend.infer`."""
        if self._session is None:
            raise EngineError(f"{self._path}: this model was closed; load it again")
        try:
            arrays = self._session.run(list(self.outputs), dict(inputs))
        except Exception as error:
            raise EngineError(f"{self._path}: ONNX Runtime failed: {_first_line(error)}") from error
        return dict(zip(self.outputs, arrays, strict=True))

    def close(self) -> None:
        """See :meth:`segopt.backends.Backend.close`."""
        self._session = None


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"ONNX Runtime is not usable ({_first_line(error)}); install it with `pip install 'segopt[cpu]'`, "
            "or `pip install 'segopt[gpu]'` on a machine with an NVIDIA GPU"
        ) from None
    return onnxruntime


def _providers(ort: Any, device: Device) -> list[str]:
    available = ort.get_available_providers()
    if device == "cuda" and _CUDA not in available:
        raise EngineError(
            "this ONNX Runtime has no CUDA provider; install the GPU build with `pip install 'segopt[gpu]'`, "
            "or run with --device cpu"
        )
    return [_CPU] if device == "cpu" or _CUDA not in available else [_CUDA, _CPU]


def _create_session(ort: Any, path: Path, providers: list[str]) -> Any:
    options = ort.SessionOptions()
    # Warnings of the optimiser and failed GPU probes would be printed over the user's progress bar; what goes
    # wrong for good arrives as an exception.
    options.log_severity_level = _FATAL
    ort.set_default_logger_severity(_FATAL)
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise EngineError(
            f"{path}: ONNX Runtime {ort.__version__} cannot load it ({_first_line(error)}); "
            "export it again, or update onnxruntime"
        ) from error


def _spec(node: Any, path: Path) -> TensorSpec:
    if node.type not in _DTYPES or not all(isinstance(side, int) for side in node.shape):
        raise EngineError(
            f"{path}: {node.name} is {node.type} {node.shape}, and segopt needs fixed shapes; "
            "export the model with `segopt export`"
        )
    return TensorSpec(np.dtype(_DTYPES[node.type]), tuple(node.shape))


def _first_line(error: BaseException) -> str:
    """An exception's message cut to its first line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
