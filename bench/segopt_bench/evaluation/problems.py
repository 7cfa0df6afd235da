"""What can be wrong with data that is to be evaluated, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from segopt.errors import SegoptError


class EvaluationError(SegoptError):
    """Ground truth or predictions cannot be evaluated at all."""


class LeftOutError(Exception):
    """One picture cannot be evaluated; the others can. Its text is the reason, without the picture's name."""


@dataclass(frozen=True)
class LeftOut:
    """A picture that was not evaluated."""

    picture: str
    reason: str
    measure: str
    """What it was left out of: ``semantic``, ``instance`` or ``panoptic``."""


def summarize(left_out: Iterable[LeftOut]) -> list[str]:
    """One line for each reason, with the number of pictures and the first of their names."""
    pictures: dict[str, dict[str, None]] = {}
    measures: dict[str, dict[str, None]] = {}
    for entry in left_out:
        pictures.setdefault(entry.reason, {})[entry.picture] = None
        measures.setdefault(entry.reason, {})[entry.measure] = None
    return [
        f"{len(names)} left out of {', '.join(measures[reason])}: {reason} ({shorten(list(names), 3)})"
        for reason, names in pictures.items()
    ]


def shorten(names: Sequence[str], most: int = 8) -> str:
    """Names with commas; of many the first, and how many more there are."""
    if len(names) <= most:
        return ", ".join(names) or "none"
    return ", ".join(names[:most]) + f" and {len(names) - most} more"
