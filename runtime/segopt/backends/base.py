"""What every backend offers, and what it gives for an inference that was started."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from segopt.errors import EngineError
from segopt.model.tensors import TensorSpec

Tensors = Mapping[str, NDArray[np.generic]]
_Outputs = TypeVar("_Outputs", covariant=True)


class Pending(Generic[_Outputs]):
    """An inference that was started.

    Args:
        finish: waits for its end and gives the outputs, or raises what went wrong. It is called again only where
            an interrupt kept it from ending.
    """

    def __init__(self, finish: Callable[[], _Outputs]) -> None:
        self._finish: Callable[[], _Outputs] | None = finish
        self._outputs: tuple[_Outputs] | None = None
        self._error: Exception | None = None

    def wait(self) -> None:
        """Wait for its end and keep what came of it, outputs or error; a second time does nothing.

        An interrupt leaves it under way: it can be waited for again.
        """
        if self._finish is None:
            return
        try:
            self._outputs = (self._finish(),)
        except Exception as error:
            # The traceback would keep what the inference ran in.
            self._error = error.with_traceback(None)
        self._finish = None

    def result(self) -> _Outputs:
        """Wait for its end.

        Returns:
            What :meth:`Backend.infer` would have returned; the same object each time.

        Raises:
            EngineError: the runtime failed.
        """
        self.wait()
        if self._outputs is None:
            assert self._error is not None
            raise self._error
        return self._outputs[0]


class Backend(ABC):
    """A loaded model. It may be called from any thread, by one thread at a time."""

    name: str
    """For people: the runtime and the device, such as ``ONNX Runtime 1.20 (CPU)``."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    optional: Mapping[str, TensorSpec] = MappingProxyType({})
    """Inputs that may be left out."""
    depth: int = 1
    """How many inferences can be under way at once."""
    notes: tuple[str, ...] = ()
    """Lines for a person: why it was chosen, and what it could do besides."""

    @abstractmethod
    def infer(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """Run once.

        Args:
            inputs: for each name in :attr:`inputs`, and for those of :attr:`optional` that are given, an array of
                its type and shape.

        Returns:
            For each name in :attr:`outputs`, an array of its type and shape that belongs to the caller.

        Raises:
            EngineError: the inputs do not fit, or the runtime failed.
        """

    def submit(self, inputs: Tensors) -> Pending[dict[str, NDArray[np.generic]]]:
        """Start an inference; the inputs may be changed after that.

        A backend of depth 1 has ended it on return. Where more than :attr:`depth` are started, it waits for the
        oldest, whose result stays available.

        Raises:
            EngineError: the inputs do not fit, or the runtime failed.
        """
        outputs = self.infer(inputs)
        return Pending(lambda: outputs)

    @abstractmethod
    def close(self) -> None:
        """Release the model; a second time does nothing. Only ``close`` may be called after it."""


def check_inputs(
    inputs: Tensors,
    specs: Mapping[str, TensorSpec],
    model: object,
    optional: Mapping[str, TensorSpec] = MappingProxyType({}),
) -> None:
    """Compare arrays with what a model takes, and with what it may be given besides.

    Raises:
        EngineError: one is missing, unknown, or of another type or shape.
    """
    for name in sorted({*inputs, *specs}):
        array, spec = inputs.get(name), specs.get(name) or optional.get(name)
        found = None if array is None else TensorSpec(array.dtype, array.shape)
        if found != spec:
            raise EngineError(f"{model}: takes {name} as {spec or 'no input'}, and was given {found or 'none'}")
