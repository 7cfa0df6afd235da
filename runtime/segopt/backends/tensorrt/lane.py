"""A lane: all that one inference at a time needs, allocated once."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from segopt.backends.base import Tensors
from segopt.backends.tensorrt.contexts import Contexts
from segopt.backends.tensorrt.plan import OpenPlan
from segopt.cuda import CudaError, Event, Graph, SharedArray, Stream, capture, shared_array
from segopt.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    import tensorrt as trt
    from numpy.typing import NDArray
    from typing_extensions import Self

Graphs = Literal["captured", "own", "none"]
"""How an inference is launched: as one CUDA graph with its copies; by TensorRT-RTX as a graph of its own, between
copies; or call by call."""


class Lane:
    """An execution context with a stream, buffers and, where it can be captured, a CUDA graph of its own.

    The graph holds the whole inference: copy in, network, copies out (an integrated GPU needs no copies). Two
    lanes of one plan overlap: while the network of one runs, the GPU's copy engines work for the other.

    Args:
        plan: that is executed.
        contexts: makes the lane's context.
        use_graphs: True insists on a CUDA graph, False does without, None takes one where it is possible.

    Raises:
        CudaMemoryError: no memory is left for the buffers.
        EngineError: TensorRT cannot make a context, the first run fails, or a graph that must be cannot.
    """

    def __init__(self, plan: OpenPlan, contexts: Contexts, *, use_graphs: bool | None = None) -> None:
        self._plan = plan
        self._context: trt.IExecutionContext | None = None
        self._graph: Graph | None = None
        self._started = False
        self.graphs: Graphs = "none"
        with contextlib.ExitStack() as owned:
            self._stream = owned.enter_context(Stream())
            self._done = owned.enter_context(Event())
            self._tensors: dict[str, SharedArray] = {}
            for name, spec in {**plan.inputs, **plan.outputs}.items():
                self._tensors[name] = shared_array(spec.shape, spec.dtype, integrated=plan.gpu.integrated)
                owned.callback(self._tensors[name].close)
            try:
                self._warm_up(contexts.create())
                if use_graphs is not False:
                    self._use_graph(contexts, insist=use_graphs is True)
            except BaseException:
                self._drain()
                raise
            self._owned = owned.pop_all()

    def start(self, inputs: Tensors) -> None:
        """Launch an inference and return; the lane must be free. The inputs may be changed after that.

        Args:
            inputs: of the plan's types and shapes.

        Raises:
            EngineError: CUDA or TensorRT refuses.
        """
        if self._started:
            # Its end was never seen, since an interrupt or an error came between: the GPU may still read.
            self._stream.synchronize()
        self._started = True
        for name, array in inputs.items():
            self._tensors[name].array[...] = array
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._enqueue()
        self._done.record(self._stream)

    def finish(self) -> dict[str, NDArray[np.generic]]:
        """Wait for the inference that was started.

        Returns:
            Copies of the outputs.

        Raises:
            CudaError: it failed.
        """
        self._done.synchronize()
        outputs = {name: self._tensors[name].array.copy() for name in self._plan.outputs}
        self._started = False
        return outputs

    def close(self) -> None:
        """Wait for what still runs and release everything; a second time does nothing."""
        if self._context is not None:
            self._drain()
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _warm_up(self, context: trt.IExecutionContext) -> None:
        """Take this context and run it once: the first run sets things up that a capture would not allow."""
        self._context = context
        for name, array in self._tensors.items():
            if not context.set_tensor_address(name, array.address):
                raise EngineError(f"{self._plan.path}: TensorRT does not take the address of {name}")
        self._enqueue()
        self._stream.synchronize()

    def _use_graph(self, contexts: Contexts, *, insist: bool) -> None:
        refusal: object = f"{self._plan.flavor} cannot be captured with this plan"
        assert self._context is not None
        if contexts.can_capture(self._context, self._stream):
            try:
                self._graph = capture(self._stream, self._enqueue)
                self._graph.launch(self._stream)
                self._stream.synchronize()
                self.graphs = "captured"
                return
            except EngineError as error:
                self._drop_graph()
                refusal = error
        if contexts.has_own_graphs:
            self._context = None
            self._warm_up(contexts.create(own_graphs=True))
            self.graphs = "own"
        elif insist:
            raise EngineError(f"{self._plan.path}: no CUDA graph can be made of it ({refusal})")

    def _enqueue(self) -> None:
        """Put copy in, network and copies out into the stream."""
        assert self._context is not None
        for name in self._plan.inputs:
            self._tensors[name].to_device(self._stream)
        self._plan.log.clear()
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise EngineError(f"{self._plan.path}: {self._plan.flavor} failed: {self._plan.log.reason()}")
        for name in self._plan.outputs:
            self._tensors[name].to_host(self._stream)

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _drain(self) -> None:
        """Let go of graph and context, once the stream is done with them and with the buffers."""
        with contextlib.suppress(CudaError):
            self._stream.synchronize()
        self._drop_graph()
        self._context = None
