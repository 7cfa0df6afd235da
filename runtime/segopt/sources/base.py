"""What every source of frames has in common."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

from segopt.equality import ArrayEquality
from segopt.frame import Frame
from segopt.sources.sound import Sound

Kind = Literal["pictures", "video"]

_CLOSE_TIMEOUT = 5.0
"""Seconds to wait for a read that another thread is in. Closing under it would free memory in use."""


@dataclass(frozen=True, eq=False)
class SourceFrame(ArrayEquality):
    """One frame of a source."""

    index: int
    """Its number among all frames of the source, from 0; with a stride of 3: 0, 3, 6."""
    image: Frame = field(repr=False)
    """BGR, uint8 [H, W, 3]."""
    name: str
    """Stem for files that are made of it; unique within the source."""
    file_name: str
    """The picture's own file name; for video the name with ``.jpg``, as COCO wants one."""
    time: Fraction | None = None
    """Seconds on the source's clock at which the frame is shown; None for pictures."""
    duration: Fraction | None = None
    """Seconds for which it is shown, where the source says so and every frame is asked for."""


class Source(ABC):
    """Frames from somewhere. A context manager; iterate it once.

    It may be iterated in one thread and closed from another. Iteration raises
    :class:`~segopt.errors.SourceBrokenError` after the last good frame of a source that broke off, and
    :class:`~segopt.errors.SourceError` for what cannot be read at all.
    """

    name: str
    """Short, fit for a file name: the stem of the file or folder, ``camera-0``, a stream's host and path."""
    kind: Kind
    live: bool = False
    """True where frames pass whether they are taken or not: only the latest one is of use."""
    frame_count: int | None = None
    """How many frames iteration is expected to give; None where nobody knows."""
    rate: Fraction | None = None
    """Frames per second that iteration gives (the source's own rate over the stride); None for pictures."""
    tick: Fraction | None = None
    """Seconds: resolution of ``SourceFrame.time``."""
    files: Sequence[Path] = ()
    """The files that it reads, where it reads files."""
    sound: Sound | None = None
    """What is heard with the frames; None where there is nothing."""
    notes: list[str]
    """Lines for a person, as things are found: what was done to the frames so that they look as they should."""

    def __init__(self) -> None:
        self.notes = []
        self._busy = threading.Lock()
        self._closed = False

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[SourceFrame]:
        frames = self._frames()
        while True:
            with self._busy:
                if self._closed:
                    return
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def stop(self) -> None:  # noqa: B027
        """Tell a read in another thread that waits for a source to come back that no more frames are wanted."""

    @property
    def retrying(self) -> bool:
        """Whether a read in another thread waits for a source to come back."""
        return False

    def close(self) -> None:
        """Let go of files and devices; harmless when repeated.

        A thread that is stuck in a read (a camera that was unplugged) keeps its handle until the process ends.
        """
        if self._busy.acquire(timeout=_CLOSE_TIMEOUT):
            try:
                if not self._closed:
                    self._closed = True
                    self._close()
            finally:
                self._busy.release()

    @abstractmethod
    def _frames(self) -> Iterator[SourceFrame]:
        """The frames, with stride and limit applied."""

    def _close(self) -> None:  # noqa: B027
        """Let go of files and devices; called once."""


def frames_to_expect(total: int | None, stride: int, limit: int | None) -> int | None:
    """How many of ``total`` frames are left by a stride and a limit; None is unknown."""
    given = None if total is None else -(-total // stride)
    if limit is None or given is None:
        return given if limit is None else limit
    return min(given, limit)
