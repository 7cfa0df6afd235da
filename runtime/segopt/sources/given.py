"""Frames that the caller has, as a source."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from segopt.frame import Frame
from segopt.sources.base import Source, SourceFrame, frames_to_expect


class GivenFrames(Source):
    """The frames of an iterable, in its order, one at a time; nobody knows how many, nor when they are shown."""

    kind = "pictures"
    name = "frames"

    def __init__(self, frames: Iterable[Frame], *, stride: int = 1, max_frames: int | None = None) -> None:
        """Take the frames, uint8 BGR [H, W, 3], all of them or each ``stride``-th, ``max_frames`` at most."""
        super().__init__()
        self.frame_count = frames_to_expect(None, stride, max_frames)
        self._given = frames
        self._stride, self._limit = stride, max_frames

    def _frames(self) -> Iterator[SourceFrame]:
        taken = itertools.islice(enumerate(self._given), 0, None, self._stride)
        for index, image in itertools.islice(taken, self._limit):
            name = f"{self.name}-{index:06d}"
            yield SourceFrame(index, image, name, f"{name}.jpg")
