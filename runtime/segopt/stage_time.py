"""How long the stages of a run work, and which of them holds the others back."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StageTime:
    """What one stage took over a whole run."""

    frame_ms: float
    """Median milliseconds for a frame."""
    busy: float
    """Seconds that it worked; the rest of the run it waited for another stage."""


@dataclass
class StageClock:
    """Adds up one stage's times. For one thread."""

    _frame_ms: list[float] = field(default_factory=list)
    _busy: float = 0.0

    def add(self, seconds: float, frames: int = 1) -> None:
        """The stage worked for so long, on so many frames."""
        self._frame_ms.append(1000 * seconds / frames)
        self._busy += seconds

    @property
    def time(self) -> StageTime:
        """What was added up."""
        return StageTime(statistics.median(self._frame_ms) if self._frame_ms else 0.0, self._busy)


def slowest(stages: Mapping[str, StageTime]) -> str:
    """The stage that worked longest: a run of many frames takes little longer than it."""
    return max(stages, key=lambda name: stages[name].busy)
