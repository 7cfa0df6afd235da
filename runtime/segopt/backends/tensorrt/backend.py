"""Plans as a backend: lanes that take turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from segopt.backends.base import Backend, Pending, Tensors, check_inputs
from segopt.backends.tensorrt.contexts import contexts_of
from segopt.backends.tensorrt.lane import Graphs, Lane
from segopt.backends.tensorrt.plan import open_plan
from segopt.cuda import CudaError, CudaMemoryError
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
        use_graphs: True insists on CUDA graphs, False does without, None takes them where they are possible.

    Raises:
        CardError: the plan or its sidecar is missing or damaged, or they do not belong together.
        EngineError: there is no GPU or TensorRT, others than the plan was built for, or too little memory.
    """

    def __init__(self, path: Path, *, use_graphs: bool | None = None) -> None:
        plan = open_plan(path)
        contexts = contexts_of(plan)
        self._path = path
        # Holds all that refers to the engine beside the lanes.
        self._make_lane: Callable[[], Lane] | None = partial(Lane, plan, contexts, use_graphs=use_graphs)
        first = self._new_lane()
        contexts.save()
        self._lanes, self._free = [first], [first]
        self._under_way: dict[Lane, Pending[dict[str, NDArray[np.generic]]]] = {}
        self.depth = _LANES
        self.graphs: Graphs = first.graphs
        self.inputs, self.outputs = plan.inputs, plan.outputs
        self.name = f"{plan.flavor} ({plan.gpu.name}{_LAUNCHES[first.graphs]})"

    def submit(self, inputs: Tensors) -> Pending[dict[str, NDArray[np.generic]]]:
        """See :meth:`segopt.backends.Backend.submit`."""
        if self._make_lane is None:
            raise _closed(self._path)
        check_inputs(inputs, self.inputs, self._path)
        lane = self._free_lane()
        try:
            lane.start(inputs)
        except CudaError as error:
            self._free.append(lane)
            raise _named(error, self._path) from error
        except EngineError:
            self._free.append(lane)
            raise
        pending = self._under_way[lane] = Pending(partial(self._finish, lane))
        return pending

    def infer(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """See :meth:`segopt.backends.Backend.infer`."""
        return self.submit(inputs).result()

    def close(self) -> None:
        """See :meth:`segopt.backends.Backend.close`; inferences that were not waited for are lost."""
        self._make_lane = None
        for pending in tuple(self._under_way.values()):
            pending.wait()
        for lane in self._lanes:
            lane.close()
        self._lanes, self._free = [], []

    def _free_lane(self) -> Lane:
        """A lane without work: a new one while there may be more, else the one that is done first."""
        if not self._free and len(self._lanes) < self.depth:
            try:
                lane = self._new_lane()
            except EngineError:
                self.depth = len(self._lanes)
            else:
                self._lanes.append(lane)
                self._free.append(lane)
        if not self._free:
            next(iter(self._under_way.values())).wait()
        return self._free.pop()

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

    def _finish(self, lane: Lane) -> dict[str, NDArray[np.generic]]:
        """Wait for a lane's outputs, or for its error, and take the lane back."""
        try:
            if self._make_lane is None:
                raise _closed(self._path)
            return lane.finish()
        except CudaError as error:
            failure = _named(error, self._path)
        finally:
            del self._under_way[lane]
            self._free.append(lane)
        # Without its cause, whose traceback would keep the lane and the engine.
        raise failure


def _named(error: CudaError, path: Path) -> EngineError:
    """The error with the plan's name before it, which CUDA does not know."""
    return EngineError(f"{path}: {error}")


def _closed(path: Path) -> EngineError:
    return EngineError(f"{path}: this model was closed; load it again")
