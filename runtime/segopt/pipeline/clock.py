"""How long the stages of a run work, and which of them holds the others back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StageTime:
    """What one stage took over a whole run."""

    frame_ms: float
    """Median milliseconds for a frame, to half a percent."""
    busy: float
    """Seconds that it worked; the rest of the run it waited for another stage."""


_STEP = math.log(1.01)
_SHORTEST = 1e-9
"""Seconds that the clock tells from none."""


@dataclass
class StageClock:
    """Adds up one stage's times, in as little memory after a week as after a minute. For one thread."""

    _frames: Counter[int] = field(default_factory=Counter)
    """How often a frame took so long, by the logarithm of the seconds in steps of one percent."""
    _busy: float = 0.0

    def add(self, seconds: float, frames: int = 1) -> None:
        """The stage worked for so long, on so many frames."""
        self._frames[round(math.log(max(seconds / frames, _SHORTEST)) / _STEP)] += 1
        self._busy += seconds

    def add_rest(self, seconds: float) -> None:
        """It worked for so long on no frame of its own: an encoder gives its last frames at the end."""
        self._busy += seconds

    @property
    def time(self) -> StageTime:
        """What was added up."""
        return StageTime(1000 * self._median() if self._frames else 0.0, self._busy)

    def _median(self) -> float:
        middle = self._frames.total() / 2
        for steps in sorted(self._frames):
            middle -= self._frames[steps]
            if middle <= 0:
                break
        return math.exp(steps * _STEP)


def slowest(stages: Mapping[str, StageTime]) -> str:
    """The stage that worked longest: a run of many frames takes little longer than it."""
    return max(stages, key=lambda name: stages[name].busy)
