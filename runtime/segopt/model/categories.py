"""Classes of a model, and how their names are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_VOID = frozenset({"void", "unlabeled", "unlabelled", "ignore", "n/a"})
_NO_CLASS = _VOID | {"", "background"}


def plain_name(name: str) -> str:
    """A class's name as data sets are compared by it: ``Traffic_Light`` is ``traffic light``."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def is_void(name: str) -> bool:
    """Whether a class's name says that its pixels are not annotated."""
    return plain_name(name) in _VOID


def is_no_class(name: str) -> bool:
    """Whether a class's name says that it is none: background, void, torchvision's N/A."""
    return plain_name(name) in _NO_CLASS


@dataclass(frozen=True)
class Category:
    """One class of a model: what a pixel or a detection can be."""

    id: int
    name: str
    is_thing: bool
    color: tuple[int, int, int]
    """RGB, 0 to 255."""


def category_by_id(categories: Iterable[Category]) -> dict[int, Category]:
    """Look-up from category id to category."""
    return {category.id: category for category in categories}


def names_by_id(categories: Iterable[Category]) -> dict[int, str]:
    """Look-up from category id to name."""
    return {category.id: category.name for category in categories}


def name_of(category_id: int, names: Mapping[int, str]) -> str:
    """A category's name; ``class 7`` where the id has none."""
    return names.get(category_id, f"class {category_id}")
