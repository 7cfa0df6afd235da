"""Which class of an engine is which class of the ground truth: by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segopt.model.categories import Category, plain_name
from segopt_bench.evaluation.problems import EvaluationError, shorten


@dataclass(frozen=True)
class TruthClass:
    """A class of the ground truth."""

    id: int
    """Category id; for semantic maps the index in the map."""
    name: str
    is_thing: bool


@dataclass(frozen=True)
class ClassMatch:
    """How the classes of both sides correspond."""

    to_truth: dict[int, int]
    """The engine's id to the ground truth's; what the ground truth does not know is not in it."""
    shared: frozenset[int]
    """Ids of the ground truth's classes that the engine knows."""
    only_found: tuple[str, ...]
    """Names that the engine alone knows."""
    only_truth: tuple[str, ...]
    """Names that the ground truth alone knows."""

    @property
    def differs(self) -> bool:
        """Whether the ground truth has classes that the engine cannot give."""
        return bool(self.only_truth)

    def notes(self, measure: str) -> list[str]:
        """What a reader of the figures must know of the lists."""
        notes = []
        if self.only_truth:
            notes.append(
                f"{measure}: classes that the ground truth alone has count as missed: {shorten(self.only_truth)}"
            )
        if self.only_found:
            notes.append(
                f"{measure}: classes that the engine alone has count as no answer: {shorten(self.only_found)}"
            )
        return notes


def match_classes(found: Sequence[Category], truth: Sequence[TruthClass], source: Path) -> ClassMatch:
    """Match two lists by name.

    Args:
        found: the engine's classes, or those of a predictions file.
        truth: the ground truth's.
        source: where ``truth`` was read, for messages.

    Raises:
        EvaluationError: no name is in both lists, or the ground truth has a name twice.
    """
    by_name: dict[str, int] = {}
    for entry in truth:
        if by_name.setdefault(plain_name(entry.name), entry.id) != entry.id:
            raise EvaluationError(f"{source}: has two classes named {entry.name!r}; give each its own name")
    to_truth = {
        category.id: by_name[plain_name(category.name)]
        for category in found
        if plain_name(category.name) in by_name
    }
    shared = frozenset(to_truth.values())
    only_found = tuple(category.name for category in found if category.id not in to_truth)
    only_truth = tuple(entry.name for entry in truth if entry.id not in shared)
    if not shared:
        raise EvaluationError(
            f"{source}: not one of its classes is one of the engine's; the ground truth has "
            f"{shorten(only_truth)}; the engine has {shorten(only_found)}"
        )
    return ClassMatch(to_truth, shared, only_found, only_truth)
