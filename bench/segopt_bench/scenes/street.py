"""The plan of a street: what lies where on the ground, in meters.

Street coordinates: x across (0 is the middle of the road), z along. :meth:`Street.bend` turns them into the
world's, so that a street may curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

from segopt_bench.scenes.camera import Points
from segopt_bench.scenes.categories import category
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.light import Rgb

FAR = 400.0
"""Meters to which the street is drawn."""
NEAR_END = -60.0


class Surface(IntEnum):
    """What a pixel of the backdrop shows: a stuff class, and for walls which side of the street."""

    SKY = 0
    ROAD = 1
    MARKING = 2
    PAVEMENT = 3
    GRASS = 4
    WATER = 5
    BRICK_LEFT = 6
    BRICK_RIGHT = 7
    PLASTER_LEFT = 8
    PLASTER_RIGHT = 9
    BUILDING = 10
    TREELINE = 11

    @property
    def category_id(self) -> int:
        """The stuff class it belongs to."""
        return category(_CLASS_OF[self]).id


_CLASS_OF = {
    Surface.SKY: "sky",
    Surface.ROAD: "road",
    Surface.MARKING: "road",
    Surface.PAVEMENT: "pavement",
    Surface.GRASS: "grass",
    Surface.WATER: "water",
    Surface.BRICK_LEFT: "building",
    Surface.BRICK_RIGHT: "building",
    Surface.PLASTER_LEFT: "building",
    Surface.PLASTER_RIGHT: "building",
    Surface.BUILDING: "building",
    Surface.TREELINE: "vegetation",
}


@dataclass(frozen=True)
class Band:
    """A strip along the street, from x0 to x1 (x0 < x1)."""

    x0: float
    x1: float
    surface: Surface


@dataclass(frozen=True)
class Side:
    """One side of the road."""

    sign: float
    """-1.0 left, 1.0 right."""
    kind: str
    """``houses``, ``park`` or ``water``."""
    pavement: float
    """Width in meters; 0 where there is none."""
    verge: float
    """Width in meters of what lies between the pavement and houses or water."""
    verge_is_grass: bool
    trees: float
    """Meters between the trees along the pavement; 0 where there are none."""


@dataclass(frozen=True)
class Lane:
    """Where vehicles drive."""

    x: float
    direction: float
    """1.0 along z, -1.0 against it."""
    speed: float
    """Meters a second; the same for all in the lane, so that nobody is run into."""


@dataclass(frozen=True)
class Street:
    """A straight or gently curved street with its two sides."""

    half_width: float
    """Of the road, in meters."""
    lanes: tuple[Lane, ...]
    parking: bool
    """Whether cars stand along the kerbs."""
    sides: tuple[Side, Side]
    curvature: float
    """One over the radius, 1/m."""
    asphalt: Rgb
    paving: Rgb
    grass: Rgb
    markings: str
    """``dashed``, ``solid`` or ``none``."""
    crossing: float | None
    """z of a zebra crossing."""
    water_width: float

    def bend(self, z: float) -> float:
        """World x less street x at z."""
        reach = 150.0
        inner = max(-reach, min(reach, z))
        return self.curvature * inner * (inner / 2 + (z - inner))

    def turn(self, z: float) -> float:
        """Heading of the street at z, radians."""
        return math.atan(self.curvature * max(-150.0, min(150.0, z)))

    def to_world(self, points: Points) -> Points:
        """Street coordinates float64 [..., 3] -> world."""
        z = points[..., 2]
        inner = z.clip(-150.0, 150.0)
        world: Points = points.copy()
        world[..., 0] += self.curvature * inner * (inner / 2 + (z - inner))
        return world

    def side(self, x: float) -> Side:
        """The side on which x lies."""
        return self.sides[0] if x < 0 else self.sides[1]

    def front(self, side: Side) -> float:
        """Distance from the middle to where houses or water begin."""
        return self.half_width + side.pavement + side.verge

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """The ground from left to right, without gaps."""
        bands = [Band(-self.half_width, self.half_width, Surface.ROAD)]
        for side in self.sides:
            edges = [(self.half_width, Surface.PAVEMENT), (self.half_width + side.pavement, self._verge(side))]
            front = self.front(side)
            if side.kind == "water":
                edges += [(front, Surface.WATER), (front + self.water_width, Surface.GRASS)]
            elif side.kind == "houses":
                edges.append((front, Surface.PAVEMENT if not side.verge_is_grass else Surface.GRASS))
            ends = [edge for edge, _ in edges[1:]] + [FAR]
            for (start, surface), end in zip(edges, ends, strict=True):
                if end > start:
                    x0, x1 = sorted((side.sign * start, side.sign * end))
                    bands.append(Band(x0, x1, surface))
        return tuple(sorted(bands, key=lambda band: band.x0))

    def surface_at(self, x: float) -> Surface:
        """What lies at this distance from the middle."""
        return next((band.surface for band in self.bands if band.x0 <= x < band.x1), Surface.GRASS)

    def _verge(self, side: Side) -> Surface:
        return Surface.GRASS if side.verge_is_grass or side.kind == "park" else Surface.PAVEMENT


def random_street(dice: Dice) -> Street:
    """A street from a country road to a quay."""
    lane = dice.uniform(2.9, 3.5)
    per_direction = dice.pick((1, 2), (4, 1))
    parking = dice.chance(0.4)
    half = lane * per_direction + (2.3 if parking else dice.uniform(0.1, 0.6))
    forward, backward = dice.uniform(3.5, 9), dice.uniform(3.5, 9)
    lanes = tuple(
        Lane(direction * lane * (i + 0.5), direction, forward if direction > 0 else backward)
        for i in range(per_direction)
        for direction in (1.0, -1.0)
    )
    gray = dice.uniform(82, 128)
    stone = dice.uniform(128, 182)
    warm = dice.uniform(-6, 14)
    left, right = (_random_side(dice, sign) for sign in (-1.0, 1.0))
    green = dice.uniform(0.75, 1.1)
    return Street(
        half_width=half,
        lanes=lanes,
        parking=parking,
        sides=(left, right),
        curvature=dice.sign() / dice.log_uniform(250, 1200) if dice.chance(0.6) else 0.0,
        asphalt=(gray + dice.uniform(-3, 5), gray, gray + dice.uniform(-3, 6)),
        paving=(stone + warm, stone, stone - warm),
        grass=(dice.uniform(70, 125) * green, dice.uniform(118, 150) * green, dice.uniform(42, 66) * green),
        markings=dice.pick(("dashed", "solid", "none"), (5, 2, 1.5)),
        crossing=dice.uniform(6, 22) if dice.chance(0.3) else None,
        water_width=dice.uniform(18, 60),
    )


def _random_side(dice: Dice, sign: float) -> Side:
    kind = dice.pick(("houses", "park", "water"), (4.6, 2.8, 3.2))
    country = kind == "park" and dice.chance(0.25)
    return Side(
        sign=sign,
        kind=kind,
        pavement=0.0 if country else dice.uniform(1.8, 4.5),
        verge=dice.uniform(0.0, 6.0) if kind == "houses" else dice.uniform(1.0, 7.0),
        verge_is_grass=dice.chance(0.65),
        trees=dice.uniform(7, 16) if dice.chance(0.5) else 0.0,
    )


def strip(x0: float, x1: float, z0: float, z1: float, *, height: float = 0.0, pieces: int = 1) -> Points:
    """Outline of a strip of ground in street coordinates, float64 [2 * (pieces + 1), 3]."""
    z = np.linspace(z0, z1, pieces + 1)
    near = np.stack([np.full_like(z, x0), np.full_like(z, height), z], axis=1)
    other = np.stack([np.full_like(z, x1), np.full_like(z, height), z[::-1]], axis=1)
    return np.concatenate((near, other))
