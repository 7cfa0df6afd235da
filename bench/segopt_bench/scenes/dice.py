"""Random choices that stay the same over versions of Python and NumPy."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Dice:
    """Draws from one named stream of a seed.

    Only ``random.Random.random`` is used: of all generators it alone promises the same sequence for ever.

    Args:
        names: seed and name of the stream, in any number of parts.
    """

    def __init__(self, *names: int | str) -> None:
        self._random = random.Random("/".join(str(name) for name in names)).random

    def uniform(self, low: float, high: float) -> float:
        """Evenly from [low, high)."""
        return low + (high - low) * self._random()

    def log_uniform(self, low: float, high: float) -> float:
        """From [low, high), every octave equally likely."""
        return low * math.exp(self._random() * math.log(high / low))

    def integer(self, low: int, high: int) -> int:
        """Evenly from low to high, both included."""
        return low + int(self._random() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random() < probability

    def pick(self, choices: Sequence[_T], weights: Sequence[float] | None = None) -> _T:
        """One of the choices, evenly or by weight."""
        if weights is None:
            return choices[int(self._random() * len(choices))]
        mark = self._random() * sum(weights)
        for choice, weight in zip(choices, weights, strict=True):
            mark -= weight
            if mark < 0:
                return choice
        return choices[-1]

    def sign(self) -> float:
        """-1.0 or 1.0."""
        return -1.0 if self._random() < 0.5 else 1.0
