"""Equality of dataclasses that hold arrays."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np


class ArrayEquality:
    """Base of dataclasses with arrays in them (``eq=False``): equal where all fields are, arrays value by value.

    Arrays are equal where their shapes and all their values are. Such an object has no hash, as an array has none.
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        return all(_equal(getattr(self, name), getattr(other, name)) for name in names)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return one is other or np.array_equal(one, other)
    return bool(one == other)
