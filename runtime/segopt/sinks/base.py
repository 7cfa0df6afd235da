"""What a sink is: a place that results go to, frame by frame."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from segopt.frame import Frame
from segopt.results import Result
from segopt.sources.base import SourceFrame


@dataclass(frozen=True)
class Finished:
    """A frame and its result. The overlay is drawn once, when first asked for."""

    frame: SourceFrame
    result: Result

    @functools.cached_property
    def overlay(self) -> Frame:
        """The frame with its result drawn onto it, BGR uint8 [H, W, 3]."""
        return self.result.draw(self.frame.image)


class Sink(ABC):
    """Takes results. ``close`` may be repeated, and is called however the run ended."""

    label: str
    """What it writes, in a word or two."""
    path: Path
    """File or folder that it writes."""
    count: int = 0
    """Frames that are in it."""
    notes: Sequence[str] = ()
    """Lines for a person: what could not be kept."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def write(self, item: Finished) -> None:
        """Take the next frame.

        Raises:
            SinkError: it cannot be written; the frames before it are safe.
        """

    def close(self) -> None:  # noqa: B027
        """Complete what was written.

        Raises:
            SinkError: it cannot be completed.
        """
