"""Plans as a backend: lanes that take turns."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segopt.backends.base import Backend, Pending, Tensors, check_inputs
from segopt.backends.tensorrt.contexts import contexts_of
from segopt.backends.tensorrt.lane import Graphs, Lane
from segopt.backends.tensorrt.plan import open_plan
from segopt.cuda import CudaError, CudaMemoryError, on_device
from segopt.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LANES = 2
_LAUNCHES: Mapping[Graphs, str] = {"captured": ", CUDA graph", "own": ", its own CUDA graph", "none": ""}


class TensorRtBackend(Backend):
    """A plan on the GPU.

    The first lane is made on loading, the second one when work is first submitted while the first is busy: who
    calls :meth:`infer` alone pays for the memory of one. Where there is no memory for a second, one has to do.

    Args:
        path: of the plan; its sidecar is beside it.
        device: CUDA's number of the GPU; each call works on it, whatever GPU the calling thread is on.
        use_graphs: True insists on CUDA graphs, False does without, None takes them where they are possible.

    Raises:
        CardError: the plan or its sidecar is missing or damaged, or they do not belong together.
        EngineError: there is no GPU or TensorRT, others than the plan was built for, or too little memory.
    """

    def __init__(self, path: Path, *, device: int = 0, use_graphs: bool | None = None) -> None:
        plan = open_plan(path, device)
        contexts = contexts_of(plan)
        self._path, self._device = path, device
        # Holds all that refers to the engine beside the lanes.
        self._make_lane: Callable[[], Lane] | None = partial(Lane, plan, contexts, use_graphs=use_graphs)
        with on_device(device):
            first = self._new_lane()
            contexts.save()
        self._lanes = [first]
        # Which lanes are free is told by this alone: Ctrl-C may come between any two lines.
        self._under_way: dict[int, _UnderWay] = {}
        self._numbers = itertools.count()
        self.depth = _LANES
        self.graphs: Graphs = first.graphs
        self.inputs, self.outputs = plan.inputs, plan.outputs
        self.name = f"{plan.flavor} ({plan.gpu.name}{_LAUNCHES[first.graphs]})"

    def submit(self, inputs: Tensors) -> Pending[dict[str, NDArray[np.generic]]]:
        """See :meth:`segopt.backends.Backend.submit`."""
        if self._make_lane is None:
            raise _closed(self._path)
        check_inputs(inputs, self.inputs, self._path)
        try:
            with on_device(self._device):
                lane, number = self._free_lane(), next(self._numbers)
                pending = Pending(partial(self._finish, number))
                self._under_way[number] = _UnderWay(lane, pending)
                try:
                    lane.start(inputs)
                except BaseException:
                    self._under_way.pop(number, None)
                    raise
        except CudaError as error:
            raise _named(error, self._path) from error
        return pending

    def infer(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """See :meth:`segopt.backends.Backend.infer`."""
        pending = self.submit(inputs)
        try:
            return pending.result()
        except BaseException:
            # Nobody can ask for it any more.
            self._under_way = {n: other for n, other in self._under_way.items() if other.pending is not pending}
            raise

    def close(self) -> None:
        """See :meth:`segopt.backends.Backend.close`; inferences that were not waited for are lost."""
        self._make_lane = None
        for under_way in tuple(self._under_way.values()):
            under_way.pending.wait()
        with contextlib.ExitStack() as stack:
            if self._lanes:
                # After an error that lost the GPU to this process nothing can be chosen.
                with contextlib.suppress(CudaError):
                    stack.enter_context(on_device(self._device))
            for lane in self._lanes:
                lane.close()
        self._lanes = []

    def _free_lane(self) -> Lane:
        """A lane without work: a new one while there may be more, else the one that is done first."""
        busy = [under_way.lane for under_way in self._under_way.values()]
        for lane in self._lanes:
            if lane not in busy:
                return lane
        if len(self._lanes) < self.depth:
            try:
                self._lanes.append(self._new_lane())
            except EngineError:
                self.depth = len(self._lanes)
            else:
                return self._lanes[-1]
        oldest = next(iter(self._under_way.values()))
        oldest.pending.wait()
        return oldest.lane

    def _new_lane(self) -> Lane:
        assert self._make_lane is not None
        try:
            return self._make_lane()
        except CudaMemoryError as error:
            raise EngineError(
                f"{self._path}: {error}; end what else uses the GPU, or export with a smaller --size or --batch"
            ) from error
        except CudaError as error:
            raise _named(error, self._path) from error

    def _finish(self, number: int) -> dict[str, NDArray[np.generic]]:
        """Wait for an inference's outputs, or for its error, and take its lane back.

        Where Ctrl-C ends the waiting, the inference goes on, and its lane stays taken.
        """
        if number not in self._under_way:
            raise EngineError(f"{self._path}: this inference was interrupted; start it again")
        lane = self._under_way[number].lane
        try:
            if self._make_lane is None:
                raise _closed(self._path)
            with on_device(self._device):
                outputs = lane.finish()
        except Exception as error:
            del self._under_way[number]
            if not isinstance(error, CudaError):
                raise
            failure = _named(error, self._path)
        else:
            del self._under_way[number]
            return outputs
        # Without its cause, whose traceback would keep the lane and the engine.
        raise failure


class _UnderWay(NamedTuple):
    """An inference that was started."""

    lane: Lane
    pending: Pending[dict[str, NDArray[np.generic]]]


def _named(error: CudaError, path: Path) -> EngineError:
    """The error with the plan's name before it, which CUDA does not know."""
    return EngineError(f"{path}: {error}")


def _closed(path: Path) -> EngineError:
    return EngineError(f"{path}: this model was closed; load it again")
