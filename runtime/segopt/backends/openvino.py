"""OpenVINO: Intel's and AMD's CPUs, and Intel's GPUs and NPUs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.backends.base import Backend, Tensors, check_inputs
from segopt.errors import EngineError, first_line
from segopt.model.tensors import TensorSpec


class OpenVinoBackend(Backend):
    """A model in OpenVINO, which computes in single precision unless the file says otherwise.

    OpenVINO by itself takes bf16 where a CPU has it. That moves boxes by a third of a pixel, since their geometry
    is then computed in it, too.

    Args:
        path: the ONNX file.
        target: ``CPU``, ``GPU`` or ``NPU``, as OpenVINO calls its devices; ``GPU.1`` is the second.
        threads: that compute on the CPU; None leaves it to OpenVINO, which takes one for each core.

    Raises:
        EngineError: OpenVINO is not installed, has no such device, or cannot load the file.
    """

    def __init__(self, path: Path, target: str = "CPU", *, threads: int | None = None) -> None:
        ov = _import_openvino()
        core = ov.Core()
        if not any(device.partition(".")[0] == target.partition(".")[0] for device in core.available_devices):
            raise EngineError(
                f"OpenVINO {_version(ov)} finds no {target} on this machine; it has "
                f"{', '.join(core.available_devices) or 'no device'}"
            )
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None and target == "CPU":
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = core.compile_model(core.read_model(str(path)), target, config)
        except Exception as error:
            raise EngineError(
                f"{path}: OpenVINO {_version(ov)} cannot load it for {target} ({first_line(error)}); leave "
                "--device out, or update openvino"
            ) from error
        self._path = path
        self.inputs = {port.any_name: _spec(port) for port in compiled.inputs}
        self.outputs = {port.any_name: _spec(port) for port in compiled.outputs}
        self.name = f"OpenVINO {_version(ov)} ({target})"
        self._request: Any = compiled.create_infer_request()

    def infer(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """See :meth:`segopt.backends.Backend.infer`."""
        if self._request is None:
            raise EngineError(f"{self._path}: this model was closed; load it again")
        check_inputs(inputs, self.inputs, self._path)
        try:
            # Inputs are read where they are; outputs are copied out of the request's own memory.
            self._request.infer(_contiguous(inputs), share_inputs=True)
            return {name: self._request.get_tensor(name).data.copy() for name in self.outputs}
        except Exception as error:
            raise EngineError(f"{self._path}: OpenVINO failed: {first_line(error)}") from error

    def close(self) -> None:
        """See :meth:`segopt.backends.Backend.close`."""
        self._request = None


def _contiguous(inputs: Tensors) -> Mapping[str, NDArray[np.generic]]:
    return {name: np.ascontiguousarray(array) for name, array in inputs.items()}


def _spec(port: Any) -> TensorSpec:
    return TensorSpec(np.dtype(port.element_type.to_dtype()), tuple(port.shape))


def _version(ov: Any) -> str:
    return str(ov.__version__).partition("-")[0]


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise EngineError(
            f"OpenVINO is not usable ({first_line(error)}); install it with `pip install 'segopt[openvino]'`"
        ) from None
    return openvino
