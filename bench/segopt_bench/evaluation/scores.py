"""Figures, in a form that tables and JSON are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segopt_bench.evaluation.problems import LeftOut, summarize

Figures = Mapping[str, float | None]
"""Name of a figure to its value, 0 to 1; None where nothing defines it (no such object, no such class)."""

KNOWN = "classes known to both"


@dataclass(frozen=True)
class Scores:
    """The figures of one measure."""

    measure: str
    """``semantic``, ``boxes``, ``masks``, ``panoptic`` or ``video``."""
    pictures: int
    """How many were evaluated."""
    totals: Mapping[str, Figures]
    """By group of classes: ``all``, ``things``, ``stuff``, and :data:`KNOWN` where the class lists differ."""
    classes: Mapping[str, Figures]
    """By class name, in the ground truth's order."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What is counted, and no share of anything: ``id switches``."""

    def minus(self, other: Scores) -> Scores:
        """Figure by figure this less the other; None where one of them has none."""
        return Scores(
            self.measure,
            self.pictures,
            {name: _difference(row, other.totals.get(name, {})) for name, row in self.totals.items()},
            {name: _difference(row, other.classes.get(name, {})) for name, row in self.classes.items()},
            {name: count - other.counts.get(name, 0) for name, count in self.counts.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """As plain dicts."""
        return {
            "pictures": self.pictures,
            "totals": {name: dict(row) for name, row in self.totals.items()},
            "classes": {name: dict(row) for name, row in self.classes.items()},
            **({"counts": dict(self.counts)} if self.counts else {}),
        }


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, and what it could not look at."""

    scores: tuple[Scores, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """The notes, and what was left out; a line each."""
        return [*self.notes, *summarize(self.left_out)]

    def to_json(self) -> dict[str, Any]:
        """As plain dicts: ``scores`` by measure, ``left_out``, ``notes``."""
        return {
            "scores": {scores.measure: scores.to_json() for scores in self.scores},
            "left_out": [
                {"picture": entry.picture, "measure": entry.measure, "reason": entry.reason}
                for entry in self.left_out
            ],
            "notes": list(self.notes),
        }


def _difference(a: Figures, b: Figures) -> dict[str, float | None]:
    return {name: _minus(value, b.get(name)) for name, value in a.items()}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def mean(values: list[float]) -> float | None:
    """Mean, or None of nothing."""
    return sum(values) / len(values) if values else None
