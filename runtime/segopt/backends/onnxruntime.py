"""ONNX Runtime: the CPU by default, an NVIDIA GPU where its CUDA or TensorRT provider is installed."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segopt.backends.base import Backend, Tensors, check_inputs
from segopt.backends.providers import CPU, CUDA, TITLES, check_provider, preload_libraries, wanted_providers
from segopt.device import Device, parse_device
from segopt.errors import EngineError, first_line
from segopt.model.tensors import MASK_SCORE, TensorSpec

_DTYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
}
_FATAL = 4
_NO_MEMORY = re.compile(r"Cannot allocate memory|pthread_create failed|bad_alloc")
_GRAPH = {"enable_cuda_graph": "1"}
# Threads that spin between two operators of a run make it a tenth faster. Before the first run and after each they
# would spin on for 35 ms, and take a core from whoever decodes, draws and encodes. Releases that do not know the
# duration at least stop after a run.
_SPIN_BRIEFLY = {"session.intra_op.spin_duration_us": "1000", "session.force_spinning_stop": "1"}


class OnnxRuntimeBackend(Backend):
    """A model in ONNX Runtime.

    Args:
        path: the ONNX file.
        device: ``auto`` takes the GPU where one works, ``cuda`` and ``tensorrt`` insist on that provider,
            ``cuda:1`` is the second GPU.
        bind: keep inputs and outputs at one place in the device's memory, allocated once, and copy to and from it;
            None does so on a GPU.
        use_graphs: on a GPU launch all kernels as one CUDA graph, where the network can be captured.
        threads: that compute on the CPU, the calling one among them; None takes one for each core.

    Raises:
        EngineError: ONNX Runtime is not installed, the device is not there, or the file does not load.
    """

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        *,
        bind: bool | None = None,
        use_graphs: bool = True,
        threads: int | None = None,
    ) -> None:
        ort, where = _import_onnxruntime(), parse_device(device)
        preload_libraries(ort, where)
        providers = wanted_providers(ort, where, path)
        self._path = path
        self._threads = threads
        self.graphs: Literal["captured", "none"] = "none"
        """Whether the kernels are launched as one CUDA graph."""
        self._run: Callable[[Tensors], dict[str, NDArray[np.generic]]] | None = None
        if use_graphs and bind is not False and providers[0][0] == CUDA:
            # On an H200 a graph saves Mask R-CNN a tenth, 1 of 12 ms, and the demo 5 of 8. Where none can be
            # made, as with a node that falls back to the CPU, the model is opened without.
            with contextlib.suppress(Exception):
                self._open_captured(ort, providers, where)
                return
            self._run = None
        self._open(ort, providers, where, bind)

    def _open(
        self, ort: Any, providers: list[tuple[str, dict[str, Any]]], where: Device, bind: bool | None
    ) -> str:
        """Load the model; the provider that runs it."""
        session = _create_session(ort, self._path, providers, self._threads)
        provider: str = session.get_providers()[0]
        check_provider(provider, where, self._path)
        self.inputs = {node.name: _spec(node, self._path) for node in session.get_inputs()}
        self.outputs = {node.name: _spec(node, self._path) for node in session.get_outputs()}
        on_gpu = provider != CPU
        if on_gpu if bind is None else bind:
            place = ("cuda", where.number) if on_gpu else ("cpu", 0)
            self._run = _BoundSession(ort, session, self.inputs, self.outputs, place)
        else:
            self._run = _Session(ort, session, self.outputs)
            others = session.get_overridable_initializers()
            self.optional = {node.name: _spec(node, self._path) for node in others if node.name == MASK_SCORE}
        self.name = f"ONNX Runtime {ort.__version__} ({TITLES.get(provider, provider)})"
        return provider

    def _open_captured(self, ort: Any, providers: list[tuple[str, dict[str, Any]]], where: Device) -> None:
        """The same so that its second run is captured as a CUDA graph, which later ones launch."""
        with_graph = [(name, {**options, **_GRAPH} if name == CUDA else options) for name, options in providers]
        if self._open(ort, with_graph, where, None) != CUDA:
            return
        zeros = {name: np.zeros(spec.shape, spec.dtype) for name, spec in self.inputs.items()}
        for _ in range(3):
            self.infer(zeros)
        self.graphs, self.name = "captured", f"{self.name.removesuffix(')')}, CUDA graph)"

    def infer(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """See :meth:`segopt.backends.Backend.infer`."""
        if self._run is None:
            raise EngineError(f"{self._path}: this model was closed; load it again")
        check_inputs(inputs, self.inputs, self._path, self.optional)
        try:
            return self._run(inputs)
        except Exception as error:
            raise EngineError(f"{self._path}: ONNX Runtime failed: {first_line(error)}") from error

    def close(self) -> None:
        """See :meth:`segopt.backends.Backend.close`."""
        self._run = None


class _Session:
    """Runs on arrays in the host's memory; ONNX Runtime allocates the outputs."""

    def __init__(self, ort: Any, session: Any, outputs: Mapping[str, TensorSpec]) -> None:
        self._session = session
        self._outputs = list(outputs)
        # The first run takes its memory piece by piece; from what it needed, the second lays all of it out in one
        # block. Without this the pieces would be kept beside the block, unused: half of the memory again.
        self._options: Any = ort.RunOptions()
        self._options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        options, self._options = self._options, None
        arrays = self._session.run(self._outputs, dict(inputs), options)
        return dict(zip(self._outputs, arrays, strict=True))


class _BoundSession:
    """Runs on values that stay where they are in a device's memory."""

    def __init__(
        self,
        ort: Any,
        session: Any,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
        device: tuple[str, int],
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        allocate = ort.OrtValue.ortvalue_from_shape_and_type
        self._inputs = {name: allocate(spec.shape, spec.dtype.type, *device) for name, spec in inputs.items()}
        self._outputs = {name: allocate(spec.shape, spec.dtype.type, *device) for name, spec in outputs.items()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        # From a GPU, numpy() copies; in the host's memory it is the value itself, which the next run overwrites.
        self._take: Callable[[Any], NDArray[np.generic]] = (
            (lambda value: value.numpy().copy()) if device[0] == "cpu" else (lambda value: value.numpy())
        )

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        for name, array in inputs.items():
            self._inputs[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(self._binding)
        return {name: self._take(value) for name, value in self._outputs.items()}


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"ONNX Runtime is not usable ({first_line(error)}); install it with `pip install 'segopt[cpu]'`, "
            "or `pip install 'segopt[gpu]'` on a machine with an NVIDIA GPU"
        ) from None
    return onnxruntime


def _create_session(ort: Any, path: Path, providers: list[tuple[str, dict[str, Any]]], threads: int | None) -> Any:
    try:
        # What ONNX Runtime prints of a provider that fails is left to check_provider to tell.
        with contextlib.redirect_stdout(io.StringIO()):
            return ort.InferenceSession(str(path), _session_options(ort, threads), providers=providers)
    except Exception as error:
        if _NO_MEMORY.search(str(error)):
            raise EngineError(
                f"{path}: there is not enough memory to load it, or a limit on memory or threads is reached (see "
                "`ulimit -a`)"
            ) from error
        raise EngineError(
            f"{path}: ONNX Runtime {ort.__version__} cannot load it ({first_line(error)}); "
            "export it again, or update onnxruntime"
        ) from error


def _session_options(ort: Any, threads: int | None) -> Any:
    options = ort.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    # Warnings of the optimizer and failed GPU probes would be printed over the user's progress bar; what goes
    # wrong for good arrives as an exception.
    options.log_severity_level = _FATAL
    for name, value in _SPIN_BRIEFLY.items():
        options.add_session_config_entry(name, value)
    ort.set_default_logger_severity(_FATAL)
    return options


def _spec(node: Any, path: Path) -> TensorSpec:
    if node.type not in _DTYPES or not all(isinstance(side, int) for side in node.shape):
        raise EngineError(
            f"{path}: {node.name} is {node.type} {node.shape}, and segopt needs fixed shapes; "
            "export the model with `segopt export`"
        )
    return TensorSpec(np.dtype(_DTYPES[node.type]), tuple(node.shape))
