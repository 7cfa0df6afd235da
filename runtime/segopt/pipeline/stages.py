"""What the pipeline asks of a segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from segopt.frame import Frame
from segopt.results import Result


class Stages(Protocol):
    """Three steps that different threads may be in at once."""

    def prepare(self, frames: Sequence[Frame], /) -> Any:
        """Letterbox."""

    def infer(self, prepared: Any, /) -> Any:
        """Run the network."""

    def finish(self, prepared: Any, outputs: Any, /) -> list[Result]:
        """One result for each frame."""


@runtime_checkable
class Abandonable(Protocol):
    """Stages that can be told that a thread will not come back from them."""

    def abandon(self) -> None:
        """Leave what is in use as it is, from now on: a thread hangs in it."""


@runtime_checkable
class OverlappingStages(Stages, Protocol):
    """Stages that can be given frames while the network still works on the ones before."""

    @property
    def depth(self) -> int:
        """How many inferences can be under way at once."""

    def submit(self, prepared: Any, /) -> Any:
        """Start the network; ``result()`` of what it returns waits for the outputs."""
