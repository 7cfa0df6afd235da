"""What an export or a wrap made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from segopt.agreement import Figure
from segopt.model.card import Card

WARNING = "WARNING: "
"""A note that begins with it is one that nobody should miss."""


@dataclass(frozen=True)
class Exported:
    """What was made."""

    path: Path
    card: Card
    figures: list[Figure]
    """Of the comparison between ONNX Runtime and PyTorch."""
    notes: list[str]
    """What a user should know of the choices made."""


Step = Callable[[str], AbstractContextManager[object]]
"""Called with a step's description; entered while the step runs."""


def no_step(_: str) -> AbstractContextManager[object]:
    """A :data:`Step` that tells nobody."""
    return nullcontext()
