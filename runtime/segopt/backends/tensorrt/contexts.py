"""Execution contexts, which TensorRT and TensorRT-RTX make in their own ways."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from segopt.backends.tensorrt.plan import OpenPlan
from segopt.cuda import Stream, device_memory
from segopt.errors import EngineError, SinkError
from segopt.files.atomic import write_bytes

if TYPE_CHECKING:
    import tensorrt as trt
    import tensorrt_rtx as rtx

    from segopt.tensorrt.module import TensorRtRtx


class Contexts(Protocol):
    """Makes the execution contexts of a plan."""

    has_own_graphs: bool
    """Whether a context can record and replay a CUDA graph of its own inside of its execution."""

    def create(self, *, own_graphs: bool = False) -> trt.IExecutionContext:
        """A new context.

        Args:
            own_graphs: let it use CUDA graphs of its own; only where :attr:`has_own_graphs`.

        Raises:
            EngineError: TensorRT cannot make one, most often since the GPU's memory is full.
        """

    def can_capture(self, context: trt.IExecutionContext, stream: Stream) -> bool:
        """Whether TensorRT has nothing against a capture of the stream that the context executes in."""

    def save(self) -> None:
        """Keep what was learned by executing for the next time that the plan is loaded."""


class PlainContexts:
    """Contexts of TensorRT: a capture is tried, and TensorRT refuses what it cannot do."""

    has_own_graphs = False

    def __init__(self, plan: OpenPlan) -> None:
        self._plan = plan

    def create(self, *, own_graphs: bool = False) -> trt.IExecutionContext:
        """See :meth:`Contexts.create`."""
        assert not own_graphs
        self._plan.log.clear()
        return _made(self._plan.engine.create_execution_context(), self._plan)

    def can_capture(self, context: trt.IExecutionContext, stream: Stream) -> bool:  # noqa: ARG002
        """See :meth:`Contexts.can_capture`."""
        return True

    def save(self) -> None:
        """See :meth:`Contexts.save`; TensorRT compiled everything when it built the plan."""


class RtxContexts:
    """Contexts of TensorRT-RTX, which compiles kernels just in time and keeps them in a cache.

    The cache is ``NAME.plan.cache`` beside the plan. One that does not fit is left alone by TensorRT-RTX, and
    replaced (docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-with-runtime-cache.html).
    """

    has_own_graphs = True

    def __init__(self, plan: OpenPlan) -> None:
        self._plan = plan
        self._file = plan.path.with_name(plan.path.name + ".cache")
        self._saved = _read(self._file)
        self._config = cast("rtx.ICudaEngine", plan.engine).create_runtime_config()
        self._cache = self._config.create_runtime_cache()
        if self._saved:
            self._cache.deserialize(self._saved)
        self._config.set_runtime_cache(self._cache)

    def create(self, *, own_graphs: bool = False) -> trt.IExecutionContext:
        """See :meth:`Contexts.create`."""
        strategies = cast("TensorRtRtx", self._plan.flavor.module).CudaGraphStrategy
        self._config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE if own_graphs else strategies.DISABLED
        self._plan.log.clear()
        return _made(self._plan.engine.create_execution_context(self._config), self._plan)

    def can_capture(self, context: trt.IExecutionContext, stream: Stream) -> bool:
        """See :meth:`Contexts.can_capture`."""
        return cast("rtx.IExecutionContext", context).is_stream_capturable(int(stream.handle))

    def save(self) -> None:
        """See :meth:`Contexts.save`; where the folder cannot be written, the next load compiles again."""
        kernels = bytes(self._cache.serialize())
        if kernels != self._saved:
            with contextlib.suppress(SinkError):
                write_bytes(self._file, kernels)
            self._saved = kernels


def contexts_of(plan: OpenPlan) -> Contexts:
    """What makes the contexts of this plan."""
    return RtxContexts(plan) if plan.flavor.name == "tensorrt-rtx" else PlainContexts(plan)


def _made(context: trt.IExecutionContext | None, plan: OpenPlan) -> trt.IExecutionContext:
    if context is None:
        free, total = (f"{size / 2**30:.1f}" for size in device_memory())
        raise EngineError(
            f"{plan.path}: {plan.flavor} cannot prepare it to run ({plan.log.reason()}; "
            f"{free} of {total} GiB of GPU memory are free); end what else uses the GPU, or export with a smaller "
            "--size, --batch or --max-detections"
        )
    return context


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
