"""The stages of a frame: what the pipeline runs and the benchmark times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from segopt.backends.base import Pending
from segopt.frame import Frame
from segopt.results import Result


class Stages(ABC):
    """Frames to results in steps: ``finish(prepared, infer(prepared))`` of what :meth:`prepare` gave.

    :meth:`prepare`, :meth:`submit` and :meth:`finish` can be called from three threads at once, so that they
    overlap on a video.
    """

    @property
    @abstractmethod
    def batch(self) -> int:
        """How many frames it takes at once."""

    @property
    def depth(self) -> int:
        """How many inferences can be under way at once; 1 where it cannot work ahead."""
        return 1

    @abstractmethod
    def prepare(self, frames: Sequence[Frame], /) -> Any:
        """Letterbox up to :attr:`batch` frames, uint8 BGR [h, w, 3] each."""

    @abstractmethod
    def infer(self, prepared: Any, /) -> Any:
        """Run the network, and wait until its answer is there."""

    def submit(self, prepared: Any, /) -> Pending[Any]:
        """Start the network; ``result()`` of what it returns gives what :meth:`infer` would."""
        outputs = self.infer(prepared)
        return Pending(lambda: outputs)

    @abstractmethod
    def decode(self, prepared: Any, outputs: Any, /) -> list[Any]:
        """The first half of :meth:`finish`: what was found, for each prepared frame."""

    @abstractmethod
    def assemble(self, found: Any, /) -> Result:
        """The second half of :meth:`finish`: paste masks and merge."""

    def abandon(self) -> None:  # noqa: B027
        """Leave what is in use as it is from now on: a thread hangs in it and will not come back."""

    def finish(self, prepared: Any, outputs: Any, /) -> list[Result]:
        """Decode and assemble: one result for each prepared frame, at the frame's own resolution."""
        return [self.assemble(found) for found in self.decode(prepared, outputs)]
