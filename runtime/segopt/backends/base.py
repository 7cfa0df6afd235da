"""What every backend offers, and what those offer besides that can work ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segopt.errors import EngineError
from segopt.model.tensors import TensorSpec

Tensors = Mapping[str, NDArray[np.generic]]


class Backend(Protocol):
    """A loaded model. It may be called from any thread, by one thread at a time."""

    name: str
    """For people: the runtime and the device, such as ``ONNX Runtime 1.20 (CPU)``."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def infer(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """Run once.

        Args:
            inputs: for each name in :attr:`inputs`, an array of its type and shape.

        Returns:
            For each name in :attr:`outputs`, an array of its type and shape that belongs to the caller.

        Raises:
            EngineError: the inputs do not fit, or the runtime failed.
        """

    def close(self) -> None:
        """Release the model; a second time does nothing. Only ``close`` may be called after it."""


class Pending(Protocol):
    """An inference that was started."""

    def result(self) -> dict[str, NDArray[np.generic]]:
        """Wait for its end.

        Returns:
            What :meth:`Backend.infer` would have returned; the same dictionary each time.

        Raises:
            EngineError: the runtime failed.
        """


@runtime_checkable
class QueueingBackend(Backend, Protocol):
    """A backend that takes the next inputs while it still works on the ones before."""

    depth: int
    """How many inferences can be under way at once."""

    def submit(self, inputs: Tensors) -> Pending:
        """Start an inference and return at once; the inputs may be changed after that.

        More than :attr:`depth` may be started: then it waits for the oldest, whose result stays available.

        Raises:
            EngineError: the inputs do not fit, or the runtime failed.
        """


@dataclass(frozen=True)
class Done:
    """A :class:`Pending` whose end need not be waited for."""

    outputs: dict[str, NDArray[np.generic]]

    def result(self) -> dict[str, NDArray[np.generic]]:
        """See :meth:`Pending.result`."""
        return self.outputs


def submit(backend: Backend, inputs: Tensors) -> Pending:
    """Start an inference on a backend of either kind; one that cannot work ahead has ended it on return."""
    if isinstance(backend, QueueingBackend):
        return backend.submit(inputs)
    return Done(backend.infer(inputs))


def depth(backend: Backend) -> int:
    """How many inferences the backend can have under way at once."""
    return backend.depth if isinstance(backend, QueueingBackend) else 1


def check_inputs(inputs: Tensors, specs: Mapping[str, TensorSpec], model: object) -> None:
    """Compare arrays with what a model takes.

    Raises:
        EngineError: one is missing, unknown, or of another type or shape.
    """
    for name in sorted({*inputs, *specs}):
        array, spec = inputs.get(name), specs.get(name)
        found = None if array is None else TensorSpec(array.dtype, array.shape)
        if found != spec:
            raise EngineError(f"{model}: takes {name} as {spec or 'no input'}, and was given {found or 'none'}")
