"""OpenVINO: Intel's and AMD's CPUs, and Intel's GPUs and NPUs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.backends.base import Backend, Pending, Tensors, check_inputs
from segopt.backends.openvino_compile import Settings, compile_model, has_bf16, import_openvino, version_of
from segopt.errors import EngineError, first_line
from segopt.model.tensors import MASK_SCORE, TensorSpec

_MOST_REQUESTS = 8
"""Inferences under way at once; a stream's frames wait for them, each with its picture."""


class OpenVinoBackend(Backend):
    """A model in OpenVINO, which computes in single precision unless it is asked for bf16.

    OpenVINO by itself takes bf16 where a CPU has it. That moves boxes by a third of a pixel, since their geometry
    is then computed in it, too; :mod:`segopt.backends.openvino_bf16` keeps geometry in single precision.

    Args:
        path: the ONNX file.
        settings: device, threads, precision, and whether inferences are to overlap.

    Raises:
        EngineError: OpenVINO is not installed, has no such device, or cannot load the file.
        UsageError: bf16 on a device that has none, or of a file that was not exported in FP16.
    """

    def __init__(self, path: Path, settings: Settings = Settings()) -> None:  # noqa: B008
        ov = import_openvino()
        core = ov.Core()
        compiled = compile_model(ov, core, path, settings)
        self._path = path
        taken = {port.any_name: _spec(port) for port in compiled.inputs}
        self.optional = {name: spec for name, spec in taken.items() if name == MASK_SCORE}
        self.inputs = {name: spec for name, spec in taken.items() if name != MASK_SCORE}
        self.outputs = {port.any_name: _spec(port) for port in compiled.outputs}
        self.name = f"OpenVINO {version_of(ov)} ({settings.target}{_BF16 if settings.precision == 'bf16' else ''})"
        self.depth = 1
        if settings.hint == "throughput":
            self.depth = min(_MOST_REQUESTS, int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        if settings.precision == "f32" and settings.target == "CPU" and has_bf16(core, "CPU"):
            self.notes = (
                "this CPU has bf16, and OpenVINO runs in single precision; a file of --precision fp16 can be run "
                "with --inference-precision bf16",
            )
        # A graph's own value of an input; OpenVINO wants each input to be given.
        self._defaults = {name: np.zeros(spec.shape, spec.dtype) for name, spec in self.optional.items()}
        self._requests: list[Any] = [compiled.create_infer_request() for _ in range(self.depth)]
        # Which requests are busy, the oldest first.
        self._under_way: dict[int, Pending[dict[str, NDArray[np.generic]]]] = {}

    def infer(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """See :meth:`segopt.backends.Backend.infer`."""
        self._check(inputs)
        request = self._requests[self._free()]
        try:
            # Inputs are read where they are; outputs are copied out of the request's own memory.
            arrays = {**self._defaults, **inputs}
            # Not ascontiguousarray, which gives a scalar a side.
            contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
            request.infer(contiguous, share_inputs=True)
            return self._outputs_of(request)
        except Exception as error:
            raise EngineError(f"{self._path}: OpenVINO failed: {first_line(error)}") from error

    def submit(self, inputs: Tensors) -> Pending[dict[str, NDArray[np.generic]]]:
        """See :meth:`segopt.backends.Backend.submit`."""
        if self.depth == 1:
            return super().submit(inputs)
        self._check(inputs)
        number = self._free()
        request = self._requests[number]
        try:
            # A copy, which the request holds until its next one: the caller may change the inputs.
            copies = {name: np.array(array, order="C") for name, array in {**self._defaults, **inputs}.items()}
            request.start_async(copies, share_inputs=True)
        except Exception as error:
            raise EngineError(f"{self._path}: OpenVINO failed: {first_line(error)}") from error
        pending = Pending(partial(self._finish, number))
        self._under_way[number] = pending
        return pending

    def close(self) -> None:
        """See :meth:`segopt.backends.Backend.close`; results of what is under way can still be asked for."""
        for pending in tuple(self._under_way.values()):
            pending.wait()
        self._requests = []

    def _check(self, inputs: Tensors) -> None:
        if not self._requests:
            raise EngineError(f"{self._path}: this model was closed; load it again")
        check_inputs(inputs, self.inputs, self._path, self.optional)

    def _free(self) -> int:
        """The number of a request without work; where there is none, of the oldest, which is waited for."""
        for number in range(self.depth):
            if number not in self._under_way:
                return number
        number, pending = next(iter(self._under_way.items()))
        pending.wait()
        return number

    def _finish(self, number: int) -> dict[str, NDArray[np.generic]]:
        request = self._requests[number]
        try:
            request.wait()
            outputs = self._outputs_of(request)
        except Exception as error:
            del self._under_way[number]
            raise EngineError(f"{self._path}: OpenVINO failed: {first_line(error)}") from error
        del self._under_way[number]
        return outputs

    def _outputs_of(self, request: Any) -> dict[str, NDArray[np.generic]]:
        return {name: request.get_tensor(name).data.copy() for name in self.outputs}


_BF16 = ", bf16"


def _spec(port: Any) -> TensorSpec:
    return TensorSpec(np.dtype(port.element_type.to_dtype()), tuple(port.shape))
