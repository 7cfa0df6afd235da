"""Values out of other people's JSON: what is plain is read; all else is a ValueError with what stands there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

_MOST = 2**53
"""Beyond it a float is not exact, and nothing that is counted here comes near."""


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def whole(value: Any, what: str) -> int:
    """A whole number, also one that is written ``432.0``."""
    if type(value) is float and value.is_integer() and abs(value) <= _MOST:
        value = int(value)
    if type(value) is not int or abs(value) > _MOST:
        raise ValueError(f"{what} is {shown(value)}, and must be a whole number")
    return value


def number(value: Any, what: str) -> float:
    """A finite number."""
    if type(value) not in (int, float) or not abs(value) <= _MOST:
        raise ValueError(f"{what} is {shown(value)}, and must be a number")
    return float(value)


def flag(value: Any, what: str) -> bool:
    """0 or 1, or false or true."""
    if type(value) not in (bool, int, float) or value not in (0, 1):
        raise ValueError(f"{what} is {shown(value)}, and must be 0 or 1")
    return bool(value)


def text(value: Any, what: str) -> str:
    """A text that can be printed: JSON can hold half of a surrogate pair, which no terminal takes."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{what} is {shown(value)}, and must be a text that can be printed")
    return value


def image_id(value: Any) -> int | str:
    """The id of a picture: a number, or a text as Cityscapes has it."""
    return text(value, "an image's id") if isinstance(value, str) else whole(value, "an image's id")


def path_inside(folder: Path, name: str) -> Path:
    """The file of this name in a folder; a name that leads out of the folder is refused."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise ValueError(f"{shown(name)} is no file in {folder.name}")
    return folder / parts
