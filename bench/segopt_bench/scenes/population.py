"""Who is in a scene: things stand where they belong and where the camera sees them, never in each other."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segopt_bench.scenes.actor import Actor, Path
from segopt_bench.scenes.backdrop import Backdrop
from segopt_bench.scenes.bicycles import random_bicycle
from segopt_bench.scenes.buses import random_bus
from segopt_bench.scenes.cars import random_car
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.people import Person, random_look
from segopt_bench.scenes.plants import random_tree
from segopt_bench.scenes.props import random_ball, random_dog, random_sign
from segopt_bench.scenes.street import Surface
from segopt_bench.scenes.viewpoint import Viewpoint

_TIMES: NDArray[np.float64] = np.arange(0.0, 14.0, 0.5)
_TRIES = 20

Place = tuple[float, float, float]
"""Street x and z, and the depth from the camera, meters."""


class Population:
    """Fills a scene.

    Args:
        backdrop: the ground and what is built on it.
        viewpoint: from where it is seen.
        dice: all choices.
    """

    def __init__(self, backdrop: Backdrop, viewpoint: Viewpoint, dice: Dice) -> None:
        self.things: list[Actor] = []
        self.plants: list[Actor] = []
        self._backdrop, self._street = backdrop, backdrop.street
        self._viewpoint, self._dice = viewpoint, dice
        way = Path(viewpoint.x, viewpoint.z, 0.0, viewpoint.speed)
        # x, z and half extents of everything, at all times.
        self._taken: list[NDArray[np.float64]] = [_boxes(way, 1.3, 1.6)]

    def fill(self) -> None:
        """Place everything: those of the first moment, then those who come later."""
        self._plant()
        busy = self._dice.log_uniform(0.75, 1.7)
        for now in (True, False):
            for kind, most, add in self._kinds():
                mean = most * busy * (1.0 if now else 0.6)
                if not now and kind in ("sign", "parked"):
                    continue
                count = int(self._dice.uniform(0, 2 * mean) + 0.5)
                for _ in range(count):
                    add(0.0 if now else self._dice.uniform(1.0, 12.0))

    def _kinds(self) -> list[tuple[str, float, Callable[[float], None]]]:
        return [
            ("bus", 0.4, self._bus),
            ("car", 2.0, self._car),
            ("parked", 1.5 if self._street.parking else 0.0, self._parked),
            ("rider", 0.6, self._rider),
            ("bicycle", 1.2, self._bicycle),
            ("sign", 1.8, self._sign),
            ("person", 4.0, self._person),
            ("dog", 4.0, self._dog),
            ("ball", 4.0, self._ball),
        ]

    def _look(self, time: float, near: float, far: float, fits: Callable[[float, float], bool]) -> Place | None:
        """A spot of the ground that the camera sees at a time and that fits, by its street x and z."""
        camera = self._viewpoint.at(time, 256, 448)
        for _ in range(_TRIES):
            depth = self._dice.log_uniform(near, far)
            world_x, z = camera.ground_point(self._dice.uniform(-0.04, 1.04), depth)
            x = world_x - self._street.bend(z)
            if self._open(x, z) and fits(x, z):
                return x, z, depth
        return None

    def _open(self, x: float, z: float) -> bool:
        side = self._street.side(x)
        if side.kind == "houses" and abs(x) > self._street.front(side) - 0.4:
            return False
        if self._backdrop.pond is not None:
            px, pz, a, b = self._backdrop.pond
            if ((x - px) / (a + 1)) ** 2 + ((z - pz) / (b + 1)) ** 2 < 1.3:
                return False
        return self._street.surface_at(x) != Surface.WATER

    def _claim(self, path: Path, across: float, along: float) -> bool:
        """Take the room of a box of these half extents on its way, if nobody else has it at any time."""
        box = _boxes(path, across, along)
        taken = np.stack(self._taken)
        hit = (np.abs(taken[..., 0] - box[:, 0]) < taken[..., 2] + box[:, 2]) & (
            np.abs(taken[..., 1] - box[:, 1]) < taken[..., 3] + box[:, 3]
        )
        if hit.any():
            return False
        self._taken.append(box)
        return True

    def _add(self, thing: Actor) -> bool:
        length, _, width = thing.size
        sin, cos = abs(math.sin(thing.path.heading)), abs(math.cos(thing.path.heading))
        if not self._claim(thing.path, (length * sin + width * cos) / 2, (length * cos + width * sin) / 2):
            return False
        self.things.append(thing)
        return True

    def _on(self, *surfaces: Surface) -> Callable[[float, float], bool]:
        return lambda x, _z: self._street.surface_at(x) in surfaces

    def _lane_path(self, time: float, near: float, far: float) -> Path | None:
        place = self._look(time, near, far, lambda x, _z: abs(x) < self._street.half_width)
        if place is None:
            return None
        lane = min(self._street.lanes, key=lambda lane: abs(lane.x - place[0]))
        x = lane.x + self._dice.uniform(-0.2, 0.2)
        return Path(x, place[1], 0.0 if lane.direction > 0 else math.pi, lane.speed, time)

    def _car(self, time: float) -> None:
        path = self._lane_path(time, 6.0, 24)
        if path is not None:
            self._add(random_car(self._dice, path))

    def _bus(self, time: float) -> None:
        path = self._lane_path(time, 10, 28)
        if path is not None:
            self._add(random_bus(self._dice, path))

    def _parked(self, time: float) -> None:
        place = self._look(time, 5.0, 18, lambda x, _z: 1.5 < abs(x) < self._street.half_width)
        if place is None:
            return
        sign = math.copysign(1.0, place[0])
        x = sign * (self._street.half_width - 1.12)
        self._add(random_car(self._dice, Path(x, place[1], 0.0 if sign > 0 else math.pi)))

    def _rider(self, time: float) -> None:
        street, dice = self._street, self._dice
        inset = 2.9 if street.parking else 0.6
        place = self._look(time, 4.2, 13, lambda x, _z: 1.0 < abs(x) < street.half_width)
        if place is None:
            return
        sign = math.copysign(1.0, place[0])
        path = Path(
            sign * (street.half_width - inset - dice.uniform(0, 0.3)), place[1], 0.0 if sign > 0 else math.pi,
            dice.uniform(2.5, 4.5), time,
        )  # fmt: skip
        if self._add(random_bicycle(dice, path)):
            self.things.append(Person(path, random_look(dice, riding=True)))

    def _bicycle(self, time: float) -> None:
        place = self._look(time, 3.6, 10, self._on(Surface.PAVEMENT, Surface.GRASS))
        if place is not None:
            heading = self._dice.uniform(-0.3, 0.3) + self._dice.pick((0.0, math.pi, math.pi / 2), (3, 3, 2))
            self._add(random_bicycle(self._dice, Path(place[0], place[1], heading)))

    def _sign(self, time: float) -> None:
        street, dice = self._street, self._dice
        place = self._look(time, 4.0, 12, lambda x, _z: abs(x) > 0.4 * street.half_width)
        if place is None:
            return
        _, z, _ = place
        sign = math.copysign(1.0, place[0])
        x = sign * (street.half_width + dice.uniform(0.35, 0.8))
        camera = self._viewpoint.at(time, 256, 448)
        towards = math.atan2(camera.position[0] - x - street.bend(z), camera.position[2] - z)
        heading = towards + math.radians(dice.uniform(-32, 32)) - street.turn(z)
        if dice.chance(0.1):
            heading += math.pi
        self._add(random_sign(dice, Path(x, z, heading)))

    def _person(self, time: float) -> None:
        street, dice = self._street, self._dice
        crossing = dice.chance(0.2)
        surfaces = (Surface.ROAD,) if crossing else (Surface.PAVEMENT, Surface.GRASS)
        place = self._look(time, 3.0, 11, self._on(*surfaces))
        if place is None:
            return
        x, z, _ = place
        walking = crossing or dice.chance(0.75)
        if crossing:
            heading = dice.sign() * math.pi / 2 + dice.uniform(-0.15, 0.15)
        elif street.surface_at(x) == Surface.PAVEMENT:
            heading = dice.pick((0.0, math.pi)) + (dice.uniform(-0.06, 0.06) if walking else dice.uniform(-3, 3))
        else:
            heading = dice.uniform(-math.pi, math.pi)
        path = Path(x, z, heading, dice.uniform(0.8, 1.6) if walking else 0.0, time)
        self._add(Person(path, random_look(dice, walking=walking)))

    def _dog(self, time: float) -> None:
        dice = self._dice
        place = self._look(time, 2.6, 7, self._on(Surface.PAVEMENT, Surface.GRASS))
        if place is not None:
            speed = dice.uniform(0.8, 2.0) if dice.chance(0.6) else 0.0
            heading = dice.pick((0.0, math.pi)) + dice.uniform(-0.1, 0.1) if speed else dice.uniform(-3.1, 3.1)
            self._add(random_dog(dice, Path(place[0], place[1], heading, speed, time)))

    def _ball(self, time: float) -> None:
        dice = self._dice
        place = self._look(time, 2.2, 5.5, self._on(Surface.PAVEMENT, Surface.GRASS, Surface.ROAD))
        if place is not None:
            speed = dice.uniform(0.3, 1.5) if dice.chance(0.6) else 0.0
            self._add(random_ball(dice, Path(place[0], place[1], dice.uniform(-3.1, 3.1), speed, time)))

    def _plant(self) -> None:
        street, dice = self._street, self._dice
        for side in street.sides:
            if side.trees:
                offset = street.half_width + (
                    side.pavement + 0.8 if side.verge > 1.6 else side.pavement * 0.6 + 0.6
                )
                z = dice.uniform(-12, -4)
                while z < 85:
                    self._root(side.sign * offset + dice.uniform(-0.2, 0.2), z, bush=False)
                    z += side.trees * dice.uniform(0.85, 1.15)
            start = street.half_width + side.pavement
            if side.kind == "park":
                for _ in range(dice.integer(10, 34)):
                    self._root(
                        side.sign * (start + dice.log_uniform(2, 45)), dice.uniform(-25, 80), bush=dice.chance(0.4)
                    )
            elif side.verge_is_grass and side.verge > 2.2:
                for _ in range(dice.integer(0, 9)):
                    x = side.sign * (start + side.verge - dice.uniform(0.5, 1.0))
                    self._root(x, dice.uniform(-10, 50), bush=True)
            if side.kind == "water":
                bank = street.front(side) + street.water_width
                for _ in range(dice.integer(4, 16)):
                    self._root(
                        side.sign * (bank + dice.uniform(2, 20)), dice.uniform(-40, 90), bush=dice.chance(0.3)
                    )

    def _root(self, x: float, z: float, *, bush: bool) -> None:
        distance = math.hypot(x - self._viewpoint.x, z - self._viewpoint.z)
        if not self._open(x, z) or distance < (4.0 if bush else 5.5):
            return
        path = Path(x, z, 0.0)
        if self._claim(path, 0.5, 0.5):
            self.plants.append(random_tree(self._dice, path, bush=bush))


def _boxes(path: Path, across: float, along: float) -> NDArray[np.float64]:
    """Middle and half extents in street coordinates at all times, float64 [T, 4]."""
    way = path.speed * (_TIMES - path.since)
    box = np.empty((len(_TIMES), 4))
    box[:, 0] = path.x + way * math.sin(path.heading)
    box[:, 1] = path.z + way * math.cos(path.heading)
    box[:, 2], box[:, 3] = across + 0.15, along + 0.15
    return box
