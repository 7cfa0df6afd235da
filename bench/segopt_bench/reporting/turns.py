"""Several ways of doing one job, timed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_WARMUP = 2
_REST_SECONDS = 0.02
"""Between two calls: threads that still spin would take the cores from the other one."""


@dataclass(frozen=True)
class Turns:
    """What one way took, round by round."""

    milliseconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    """Of all threads, which other programs disturb less."""


def in_turn(ways: Sequence[Callable[[int], object]], rounds: int) -> list[Turns]:
    """Call each way once a round, another one first each time; the first rounds are warm-up.

    Args:
        ways: called with the number of the round, which is below 0 in the warm-up.
        rounds: that count.
    """
    taken = [Turns() for _ in ways]
    for i in range(-_WARMUP, rounds):
        for turn in range(len(ways)):
            who = (turn + i) % len(ways)
            time.sleep(_REST_SECONDS)
            start, began = time.perf_counter(), time.process_time()
            ways[who](i)
            seconds, worked = time.perf_counter() - start, time.process_time() - began
            if i >= 0:
                taken[who].milliseconds.append(1000 * seconds)
                taken[who].cpu_seconds.append(worked)
    return taken
