"""Cameras that give frames as fast as they are taken, so that what they feed is what limits them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction

from segopt.frame import Frame
from segopt.sources.base import Source, SourceFrame

_RATE = Fraction(15)
FEWEST = 8
"""Frames that a camera gives at least, however slow they are taken."""


class Camera(Source):
    """Frames from memory, again and again.

    Args:
        number: its own, from 0.
        frames: uint8 BGR [h, w, 3] each.
        most: it ends after so many.
        seconds: or after so long, but not before :data:`FEWEST`.
    """

    kind = "video"
    rate = _RATE
    tick = 1 / _RATE

    def __init__(self, number: int, frames: Sequence[Frame], *, most: int, seconds: float) -> None:
        super().__init__()
        self.name = f"camera-{number}"
        self._given, self._most, self._seconds = frames, most, seconds

    def _frames(self) -> Iterator[SourceFrame]:
        began = time.monotonic()
        for index in range(self._most):
            if index >= FEWEST and time.monotonic() - began > self._seconds:
                return
            name = f"{self.name}-{index:06d}"
            image = self._given[index % len(self._given)]
            yield SourceFrame(index, image, name, f"{name}.jpg", time=index / _RATE)
