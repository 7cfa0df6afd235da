"""Median and spread of repeated measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The middle of many values, and where nine of ten of them lie."""

    median: float
    p5: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one value or more."""
        p5, median, p95 = np.percentile(values, (5, 50, 95))
        return cls(float(median), float(p5), float(p95))


def paired_ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times as fast: ``slow / fast`` round by round.

    The two of a round follow each other on the same picture, so what slows the machine for a while slows both.
    """
    return Spread.of([a / b for a, b in zip(slow, fast, strict=True)])
