"""The classes of the synthetic scenes: one table, and the index spaces that follow from it.

Category ids count from 1, things first, so that a detector's own labels (background is 0) are category ids. The
semantic index of a class is its id less one: a semantic network has an output for every class, things too.
"""

from __future__ import annotations

from segopt.model.categories import Category

_THINGS = {
    "person": (220, 20, 60),
    "bicycle": (255, 140, 0),
    "car": (0, 60, 200),
    "bus": (150, 60, 200),
    "dog": (180, 90, 40),
    "ball": (255, 90, 200),
    "sign": (250, 215, 30),
}
_STUFF = {
    "road": (110, 70, 120),
    "pavement": (230, 150, 200),
    "building": (125, 115, 105),
    "vegetation": (45, 115, 45),
    "grass": (150, 225, 120),
    "water": (20, 160, 170),
    "sky": (125, 190, 245),
}

CATEGORIES: tuple[Category, ...] = tuple(
    Category(id=i, name=name, is_thing=name in _THINGS, color=color)
    for i, (name, color) in enumerate({**_THINGS, **_STUFF}.items(), start=1)
)
"""Every class by ascending id: things, then stuff."""

THINGS: tuple[Category, ...] = CATEGORIES[: len(_THINGS)]
"""What a detector is trained for; label = category id, 1 to 7."""

STUFF: tuple[Category, ...] = CATEGORIES[len(_THINGS) :]
"""Regions without instances."""

SEMANTIC_CATEGORIES: tuple[Category, ...] = tuple(
    Category(id=category.id - 1, name=category.name, is_thing=category.is_thing, color=category.color)
    for category in CATEGORIES
)
"""The classes of a semantic map; here ``id`` is the index in the map, 0 to 13."""

STUFF_CLASSES: dict[int, int] = {category.id - 1: category.id for category in STUFF}
"""Index in the semantic map to category id, for the merger (:attr:`segopt.model.card.Card.stuff_classes`)."""


def category(name: str) -> Category:
    """The class of this name."""
    return next(entry for entry in CATEGORIES if entry.name == name)
