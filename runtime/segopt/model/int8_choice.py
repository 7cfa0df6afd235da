"""How the layers of an INT8 file were chosen, where what they may cost was bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segopt.model.fields import flag, fraction, points, whole


@dataclass(frozen=True)
class Int8Point:
    """One set of layers that was tried."""

    layers: int
    """How many."""
    saved: float
    """What they save of the time that all candidates together would save, 0 to 1, by a model of cost."""
    lost: float
    """Points of agreement with the file before it is quantized, 0 to 100."""


@dataclass(frozen=True)
class Int8Choice:
    """The layers that were taken, and what else was to be had."""

    bound: float
    """Points that might be lost, as the export was asked."""
    lost: float
    """Points that the file does lose, on the pictures."""
    pictures: int
    """So many; they are those that scales come from where none were held out."""
    layers: int
    """How many are in INT8."""
    candidates: int
    """How many could be."""
    saved: float
    """What they save of the time that all candidates together would save, 0 to 1, by a model of cost."""
    trade_off: tuple[Int8Point, ...] = ()
    """Sets that were tried, of which none loses less and saves more than another; the smallest first."""
    held_out: bool = False
    """Whether no scales come from those pictures."""

    def __str__(self) -> str:
        where = f"{self.pictures} {'picture' if self.pictures == 1 else 'pictures'}"
        return (
            f"{self.layers} of {self.candidates} layers, {100 * self.saved:.0f}% of what all would save; "
            f"{self.lost:.2f} points lost on {where}{' held out' if self.held_out else ''}, at most {self.bound:g}"
        )


def int8_choice(data: Mapping[str, Any]) -> Int8Choice:
    """Read one from a card's JSON, believing nothing.

    Raises:
        KeyError: a member is missing.
        ValueError: a number is out of range.
    """
    return Int8Choice(
        bound=points(data["bound"], "int8 bound"),
        lost=points(data["lost"], "int8 lost"),
        pictures=whole(data["pictures"], 1, "int8 pictures"),
        layers=whole(data["layers"], 0, "int8 layers"),
        candidates=whole(data["candidates"], 1, "int8 candidates"),
        saved=fraction(data["saved"], "int8 saved"),
        trade_off=tuple(
            Int8Point(
                whole(each["layers"], 0, "int8 layers"),
                fraction(each["saved"], "int8 saved"),
                points(each["lost"], "int8 lost"),
            )
            for each in data["trade_off"]
        ),
        held_out=flag(data["held_out"], "int8 held_out"),
    )
