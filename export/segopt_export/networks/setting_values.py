"""Values of settings, from JSON and back, and for people. Of what a file says, nothing is believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

RGB = tuple[float, float, float]

MOST = 3840
"""Of detections at once: TensorRT's TopK takes no more."""


def to_json(value: Any) -> Any:
    """The same made of lists and plain numbers."""
    if isinstance(value, Mapping):
        return {name: to_json(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(part) for part in value]
    if hasattr(value, "tolist"):  # arrays and tensors, which mean and std may be
        return value.tolist()
    return value


def shown(value: Any) -> str:
    """For people, on one line: ``32 64 128``, ``0.5 1 2``; levels that are alike are shown once."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(part)}" for name, part in value.items())
    if not isinstance(value, (tuple, list)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    parts = [shown(part) for part in value]
    if not all(isinstance(part, (tuple, list)) and len(part) > 1 for part in value):
        return " ".join(parts)
    return parts[0] if len(set(parts)) == 1 else " / ".join(parts)


def number(low: float, high: float, what: str) -> Callable[[Any], float]:
    """Parses a number from ``low`` to ``high``."""

    def parse(value: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"must be {what}")
        return float(value)

    return parse


def whole(low: int, high: int) -> Callable[[Any], int]:
    """Parses a whole number from ``low`` to ``high``."""

    def parse(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return parse


fraction = number(0, 1, "a number from 0 to 1")
eps = number(0, 1, "a number from 0 to 1, such as 1e-5")
count = whole(1, MOST)
proposals = whole(1, 100_000)
side = whole(32, 8192)


def _some(values: Any, what: str, length: int | None = None) -> list[Any]:
    if not isinstance(values, list) or not values or len(values) != (length or len(values)):
        raise ValueError(f"must be {what}")
    return values


def _levels(one: Callable[[Any], float], what: str) -> Callable[[Any], list[tuple[float, ...]]]:
    def parse(given: Any) -> list[tuple[float, ...]]:
        lists = [_some(level, what) for level in _some(given, what)]
        return [tuple(one(value) for value in level) for level in lists]

    return parse


_SIZES = "sizes in pixels for each level, such as [[32], [64], [128], [256], [512]]"
_RATIOS = "ratios of height to width for each level, or once for all, such as [0.5, 1, 2]"


def sizes(given: Any) -> tuple[tuple[float, ...], ...]:
    """Anchors' sizes, by level; a flat list is of one for each level, as ``AnchorGenerator`` has it."""
    given = [[size] if type(size) in (int, float) else size for size in _some(given, _SIZES)]
    levels = _levels(number(1, 8192, _SIZES), _SIZES)(given)
    return tuple(tuple(int(size) if size == int(size) else size for size in level) for level in levels)


def ratios(given: Any) -> tuple[tuple[float, ...], ...]:
    """Anchors' aspect ratios, by level; a flat list is of all levels."""
    given = _some(given, _RATIOS)
    if type(given[0]) in (int, float):
        given = [given]
    return tuple(_levels(number(0.01, 100, _RATIOS), _RATIOS)(given))


def reg_weights(given: Any) -> tuple[float, ...]:
    """``BoxCoder``'s divisors."""
    what = "four numbers above 0, such as [10, 10, 5, 5]"
    return tuple(number(1e-6, 1e6, what)(value) for value in _some(given, what, 4))


def mean(given: Any) -> RGB:
    """Of pixels from 0 to 1, RGB."""
    what = "three numbers from 0 to 1, of red, green and blue pixels from 0 to 1 (divide those of 0 to 255 by 255)"
    red, green, blue = (number(0, 1, what)(value) for value in _some(given, what, 3))
    return red, green, blue


def std(given: Any) -> RGB:
    """Of pixels from 0 to 1, RGB."""
    what = (
        "three numbers above 0 and up to 1, of red, green and blue pixels from 0 to 1 "
        "(divide those of 0 to 255 by 255)"
    )
    red, green, blue = (number(1e-4, 1, what)(value) for value in _some(given, what, 3))
    return red, green, blue


def min_size(given: Any) -> tuple[int, ...]:
    """One, or several of which training chose; torchvision evaluates at the last one."""
    return tuple(side(value) for value in (given if isinstance(given, list) and given else [given]))


def pool(given: Any) -> dict[str, Any]:
    """Arguments of ``MultiScaleRoIAlign``; those that are not there stay as they are."""
    if not isinstance(given, dict):
        raise ValueError(f"must be an object with some of {', '.join(_POOL)}")
    parsed = {}
    for name, value in given.items():
        if name not in _POOL:
            raise ValueError(f"has no {name!r}; it takes {', '.join(_POOL)}")
        try:
            parsed[name] = _POOL[name](value)
        except ValueError as error:
            raise ValueError(f"has a {name} that {error}") from None
    return parsed


def _names(given: Any) -> tuple[str, ...]:
    what = 'must be a list of the backbone\'s levels, such as ["0", "1", "2", "3"]'
    if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
        raise ValueError(what)
    return tuple(given)


def _output_size(given: Any) -> int:
    if isinstance(given, list) and len(given) == 2 and given[0] == given[1]:
        given = given[0]
    return whole(1, 56)(given)


_POOL: Mapping[str, Callable[[Any], Any]] = {
    "featmap_names": _names,
    "output_size": _output_size,
    "sampling_ratio": whole(0, 8),
    "canonical_scale": whole(1, 8192),
    "canonical_level": whole(0, 16),
}
