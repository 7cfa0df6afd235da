"""What a benchmark found, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segopt.model.card import Card
from segopt_bench.latency.accuracy import Accuracy
from segopt_bench.latency.contenders import Missing
from segopt_bench.latency.layers import LayerProfile
from segopt_bench.latency.rounds import Measured
from segopt_bench.reporting.machine import Machine
from segopt_bench.reporting.stages import STAGES, TIMED_REGION

JSON_SCHEMA = 1


@dataclass(frozen=True)
class GroupReport:
    """Contenders that did the same job."""

    title: str
    card: Card
    """Of the first engine."""
    fit: str
    """The pictures' sizes, and how they lay on the canvas."""
    measured: tuple[Measured, ...]
    """The baseline first: PyTorch eager where it took part, else the first engine."""
    missing: tuple[Missing, ...] = ()
    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    """By contender's name; who is not in it was not evaluated."""
    layers: Mapping[str, LayerProfile] = field(default_factory=dict)
    """By engine's name."""
    notes: tuple[str, ...] = ()

    @property
    def baseline(self) -> Measured:
        """Whom the others are compared with."""
        return self.measured[0]


@dataclass(frozen=True)
class Report:
    """Everything that one benchmark found."""

    groups: tuple[GroupReport, ...]
    machine: Machine
    conditions: Mapping[str, str]
    pictures: str
    rounds: int
    warmup: int
    warnings: tuple[str, ...] = ()
    """What makes the figures doubtful."""

    def to_json(self) -> dict[str, Any]:
        """As plain dicts; times in milliseconds a frame, with every round's."""
        return {
            "schema": JSON_SCHEMA,
            "timed_region": TIMED_REGION,
            "stages": dict(STAGES),
            "unit": "milliseconds a frame",
            "pictures": self.pictures,
            "rounds": self.rounds,
            "warmup": self.warmup,
            "machine": dataclasses.asdict(self.machine),
            "conditions": dict(self.conditions),
            "warnings": list(self.warnings),
            "groups": [_group_json(group) for group in self.groups],
        }


def _group_json(group: GroupReport) -> dict[str, Any]:
    card = group.card
    return {
        "title": group.title,
        "mode": card.mode,
        "networks": dict(card.networks),
        "weights": {branch: dataclasses.asdict(origin) for branch, origin in card.weights.items()},
        "canvas": list(card.canvas),
        "batch": card.batch,
        "pictures": group.fit,
        "notes": list(group.notes),
        "baseline": group.baseline.name,
        "contenders": [_measured_json(each, group) for each in group.measured],
        "missing": [dataclasses.asdict(each) for each in group.missing],
        "layers": {name: dataclasses.asdict(profile) for name, profile in group.layers.items()},
    }


def _measured_json(measured: Measured, group: GroupReport) -> dict[str, Any]:
    accuracy = group.accuracy.get(measured.name)
    return {
        "name": measured.name,
        "file": measured.file,
        "precision": measured.precision,
        "total": dataclasses.asdict(measured.total),
        "stages": {name: dataclasses.asdict(measured.stage(name)) for name in STAGES},
        "draw": dataclasses.asdict(measured.draw),
        "times_as_fast": dataclasses.asdict(measured.times_as_fast_as(group.baseline)),
        "objects": dataclasses.asdict(measured.objects),
        "agreement": measured.agreement,
        "unconverged": measured.unconverged,
        "accuracy": None if accuracy is None else dict(accuracy),
        "rounds": [{**timing.stages, "total": timing.total, "draw": timing.draw} for timing in measured.timings],
    }
