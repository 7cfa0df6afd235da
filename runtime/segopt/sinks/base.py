"""What a sink is: a place that results go to, frame by frame."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from segopt.equality import ArrayEquality
from segopt.frame import Frame
from segopt.results import Result
from segopt.sources.base import SourceFrame


@dataclass(frozen=True, eq=False, repr=False)
class Finished(ArrayEquality):
    """A frame and its result. The overlay is drawn once, when first asked for."""

    source_frame: SourceFrame
    """The frame with all that its source says of it."""
    result: Result

    @property
    def frame(self) -> Frame:
        """The picture, BGR uint8 [H, W, 3]."""
        return self.source_frame.image

    @property
    def overlay(self) -> Frame:
        """The frame with its result drawn onto it, BGR uint8 [H, W, 3]; the same array each time."""
        # The cached_property of Python 3.11 has one lock for all frames, that of 3.12 has none.
        with vars(self).setdefault("_drawing", threading.Lock()):
            drawn: Frame | None = vars(self).get("_drawn")
            if drawn is None:
                drawn = vars(self)["_drawn"] = self.result.draw(self.frame)
            return drawn

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_drawing"}

    @property
    def index(self) -> int:
        """The frame's number among all of the source, from 0; with a stride of 3: 0, 3, 6."""
        return self.source_frame.index

    @property
    def name(self) -> str:
        """Stem for files that are made of it, unique within the source."""
        return self.source_frame.name

    @property
    def time(self) -> Fraction | None:
        """Seconds on the source's clock at which the frame is shown; None for pictures."""
        return self.source_frame.time

    def __repr__(self) -> str:
        return f"Finished({self.name}, {self.result})"


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
    wants_overlay: bool = False
    """Whether it takes the drawn frame, which is made beforehand then."""

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

    def watch(self, stages: Callable[[], Mapping[str, float]]) -> None:  # noqa: B027
        """Take what tells, at any time, each stage's median milliseconds a frame."""

    def close(self) -> None:  # noqa: B027
        """Complete what was written.

        Raises:
            SinkError: it cannot be completed.
        """
