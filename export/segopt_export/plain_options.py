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
