"""What every backend offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segopt.contract import TensorSpec


class Backend(Protocol):
    """A loaded model. ``infer`` may be called from any thread, by one thread at a time."""

    name: str
    """For people: the runtime and the device, such as ``ONNX Runtime 1.20 (CPU)``."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run once.

        Args:
            inputs: for each name in :attr:`inputs`, an array of its type and shape.

        Returns:
            For each name in :attr:`outputs`, an array of its type and shape that belongs to the caller.

        Raises:
            EngineError: the runtime failed.
        """

    def close(self) -> None:
        """Release the model. Only ``close`` may be called after it."""
