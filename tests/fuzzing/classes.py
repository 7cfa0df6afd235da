"""The table of what is tried, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from fuzzing import coco_json, media, models, signals, weights
from fuzzing.attempts import Outcome

Attempt = Callable[[Random, Path], Outcome]
"""Makes a case's input in the folder ``in`` of a folder, and tries it; raises a FaultError."""


@dataclass(frozen=True)
class FuzzClass:
    """One kind of input."""

    prepare: Callable[[Path], Attempt]
    """Gets a folder for good inputs."""
    cases: int = 300
    """In the tests."""
    seconds: float = 20.0
    """A case that takes longer hangs."""


def _signals(verb: signals.Verb) -> FuzzClass:
    return FuzzClass(partial(signals.prepare, verb), verb.cases, verb.seconds + 60)


CLASSES: Mapping[str, FuzzClass] = {
    "ONNX file": FuzzClass(models.onnx_files),
    "card": FuzzClass(models.cards),
    "sidecar": FuzzClass(models.sidecars),
    "safetensors": FuzzClass(partial(weights.prepare, ".safetensors")),
    "pth": FuzzClass(partial(weights.prepare, ".pth"), cases=600),
    "pkl": FuzzClass(partial(weights.prepare, ".pkl"), cases=600),
    "picture": FuzzClass(media.pictures),
    "video": FuzzClass(media.videos),
    "COCO json": FuzzClass(coco_json.documents),
    "annotation PNG": FuzzClass(coco_json.annotation_pngs, cases=60),
    **{f"signal to {name}": _signals(verb) for name, verb in signals.VERBS.items()},
}
