"""Options as a script or a command line gives them, texts and numbers, into what they mean. Needs no PyTorch."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any

from segopt.errors import UsageError

Size = str | tuple[int, int]
Numbers = str | Sequence[float]


def one_of(option: str, value: str, allowed: Sequence[str]) -> str:
    """One of the words that an option takes.

    Raises:
        UsageError: another word.
    """
    if value not in allowed:
        raise UsageError(f"--{option} {value} is unknown; give one of {', '.join(allowed)}")
    return value


def height_and_width(size: Size | None, option: str = "size") -> tuple[int, int] | None:
    """Height and width in pixels, of ``800x1344`` or of two numbers; None stays None.

    Raises:
        UsageError: neither.
    """
    if size is None:
        return None
    if isinstance(size, str):
        found = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", size.strip())
        sides: Sequence[Any] = found.groups() if found else ()
        form = "HEIGHTxWIDTH in pixels, such as 800x1344"
    else:
        sides = list(size) if isinstance(size, Iterable) else ()
        form = "(height, width) in pixels, such as (800, 1344)"
    try:
        height, width = (int(side) if isinstance(side, str) else operator.index(side) for side in sides)
    except (TypeError, ValueError):
        raise UsageError(f"--{option} {size} is no size; give {form}") from None
    return height, width


def three_numbers(value: Numbers | None, option: str, example: str) -> tuple[float, float, float] | None:
    """Three numbers, of a text with commas or of a sequence; None stays None.

    Raises:
        UsageError: something else.
    """
    if value is None:
        return None
    try:
        red, green, blue = map(float, value.split(",") if isinstance(value, str) else value)
    except (ValueError, TypeError):
        raise UsageError(f"--{option} {value}: give three numbers, such as {example}") from None
    return red, green, blue


def points_for_int8(value: float | None, precision: str) -> float | None:
    """Points of agreement that INT8 may lose, above 0 and up to 100; None stays None.

    Raises:
        UsageError: out of range, or the precision is another.
    """
    if value is None:
        return None
    if precision != "int8":
        raise UsageError(f"--int8-loss is for --precision int8; {precision} loses nothing that it could bound")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 100:
        raise UsageError(f"--int8-loss {value}: give points of agreement that may be lost, above 0, such as 1.0")
    return float(value)
