"""Values out of a JSON file of which nothing is believed: it may be damaged, or made by others.

Each function returns the value as its type, or raises a ValueError with ``what`` it is and what stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from segopt.errors import printable

_T = TypeVar("_T")

_LONGEST = 4096


def one_of(choices: tuple[_T, ...], value: Any, what: str) -> _T:
    """One of these values."""
    for choice in choices:
        if choice == value:
            return choice
    raise ValueError(f"{what} {value!r}")


def whole(value: Any, low: int, what: str, high: int = 2**31 - 1) -> int:
    """A whole number from ``low`` to ``high``."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{what} {value!r}")
    return value


def fraction(value: Any, what: str) -> float:
    """A number from 0 to 1."""
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError(f"{what} {value!r}")
    return float(value)


def points(value: Any, what: str) -> float:
    """A number from 0 to 100."""
    if type(value) not in (int, float) or not 0 <= value <= 100:
        raise ValueError(f"{what} {value!r}")
    return float(value)


def rgb_fractions(values: Any, what: str) -> tuple[float, float, float]:
    """Three numbers from 0 to 1."""
    red, green, blue = (fraction(value, what) for value in values)
    return red, green, blue


def flag(value: Any, what: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} {value!r}")
    return value


def text(value: Any, what: str) -> str:
    """A text, at most 4096 characters, in which what no terminal should get is written out: ``\\x1b``."""
    if not isinstance(value, str):
        raise ValueError(f"{what} {value!r}")
    if len(value) > _LONGEST:
        raise ValueError(f"{what} of {len(value)} characters")
    value.encode()  # JSON can hold half of a surrogate pair, which no terminal or file takes.
    return printable(value)


def texts(values: Any, what: str) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(values, list):
        raise ValueError(f"{what} {values!r}")
    return tuple(text(value, what) for value in values)


def texts_by_name(values: Mapping[str, Any], what: str) -> dict[str, str]:
    """An object whose values are texts."""
    return {text(name, what): text(value, what) for name, value in values.items()}
