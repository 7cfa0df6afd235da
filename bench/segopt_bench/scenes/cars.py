"""Cars: solids with windows, wheels and lights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segopt_bench.scenes.actor import Actor, Brush, Path, View, ring
from segopt_bench.scenes.camera import Vector
from segopt_bench.scenes.categories import category
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.light import Rgb, mix, scaled

_PAINTS: tuple[Rgb, ...] = (
    (178, 32, 36), (36, 72, 150), (226, 226, 224), (34, 36, 40), (150, 154, 160), (62, 108, 70), (214, 172, 40),
    (88, 134, 176), (122, 44, 60), (206, 110, 44), (190, 178, 152), (68, 78, 92),
)  # fmt: skip
GLASS: Rgb = (52, 62, 72)
TYRE: Rgb = (30, 30, 32)


@dataclass(frozen=True)
class Shape:
    """A kind of car; lengths in meters, ``ahead`` values from the car's middle."""

    length: float
    width: float
    height: float
    belt: float
    """Height of the windows' lower edge."""
    nose: float
    """Height of the bonnet's front edge."""
    cabin: tuple[float, float, float, float]
    """Ahead: rear foot, rear top, front top, front foot of the cabin."""
    wheel: float
    doors: tuple[float, ...]


SHAPES: dict[str, Shape] = {
    "saloon": Shape(4.5, 1.78, 1.44, 0.92, 0.72, (-1.75, -1.05, 0.35, 1.15), 0.33, (-0.85, 0.1, 0.95)),
    "hatchback": Shape(3.9, 1.70, 1.48, 0.92, 0.74, (-1.92, -1.55, 0.30, 1.05), 0.31, (-0.75, 0.85)),
    "estate": Shape(4.7, 1.80, 1.48, 0.94, 0.74, (-2.30, -1.95, 0.35, 1.20), 0.33, (-0.85, 0.1, 0.95)),
    "offroad": Shape(4.6, 1.92, 1.78, 1.08, 0.98, (-2.25, -1.95, 0.45, 1.10), 0.39, (-0.9, 0.1, 0.95)),
    "van": Shape(5.1, 1.95, 2.15, 1.15, 0.95, (-2.53, -2.48, 1.35, 2.05), 0.36, (0.2, 1.3)),
}


def body(brush: Brush, color: Rgb, profile: Sequence[tuple[float, float]], half: float) -> None:
    """A profile (ahead, up), clockwise seen from the right, drawn out to both sides; faces that look away are
    left out."""
    eye = brush.eye
    faces = []
    for (x0, y0), (x1, y1) in zip(profile, (*profile[1:], profile[0]), strict=True):
        length = math.hypot(x1 - x0, y1 - y0)
        normal = (-(y1 - y0) / length, (x1 - x0) / length, 0.0)
        if (eye[0] - x0) * normal[0] + (eye[1] - y0) * normal[1] > 0:
            distance = abs(eye[0] - (x0 + x1) / 2)
            corners = [(x0, y0, -half), (x1, y1, -half), (x1, y1, half), (x0, y0, half)]
            faces.append((distance, corners, brush.tone(color, normal)))
    for _, corners, tone in sorted(faces, key=lambda face: -face[0]):
        brush.face(corners, tone)
    if abs(eye[2]) > half:
        side = math.copysign(half, eye[2])
        brush.face([(x, y, side) for x, y in profile], brush.tone(color, (0, 0, math.copysign(1.0, eye[2]))))


class Car(Actor):
    """A passenger car or van."""

    category_id = category("car").id

    def __init__(self, path: Path, shape: Shape, paint: Rgb, *, taxi: bool = False) -> None:
        super().__init__(path)
        self._shape, self._paint, self._taxi = shape, paint, taxi

    @property
    def size(self) -> Vector:
        """Length, height and width, meters."""
        return self._shape.length, self._shape.height, self._shape.width

    def draw(self, brush: Brush, view: View) -> None:
        """Wheels beyond, body, cabin, lights, wheels on this side."""
        shape, eye = self._shape, brush.eye
        half, back, front = shape.width / 2, -shape.length / 2, shape.length / 2
        near = math.copysign(1.0, eye[2])
        axles = (back + 0.19 * shape.length, front - 0.18 * shape.length)
        rolled = self.path.speed * (view.time - self.path.since) / shape.wheel
        self._under(brush, axles, half)
        _, _, _, foot = shape.cabin
        sill, belt = 0.26, shape.belt
        deck = belt - 0.03 if shape.cabin[0] - back > 0.3 else belt
        profile = [
            (back, sill), (back, deck - 0.1), (back + 0.12, deck), (shape.cabin[0], belt), (foot, belt),
            (front - 0.12, shape.nose + 0.06), (front, shape.nose - 0.1), (front, sill),
        ]  # fmt: skip
        body(brush, self._paint, profile, half)
        if abs(eye[2]) > half:
            self._side(brush, near * (half + 0.005))
        self._cabin(brush, near, half)
        self._ends(brush, half, back, front)
        for axle in axles if abs(eye[2]) > half * 0.8 else ():
            brush.wheel((axle, shape.wheel + 0.02, near * half), shape.wheel * 1.2, brush.tone(scaled(TYRE, 0.7)))
            brush.wheel((axle, shape.wheel, near * half), shape.wheel, brush.tone(TYRE))
            brush.wheel((axle, shape.wheel, near * half), shape.wheel * 0.62, brush.tone((158, 160, 164)))
            spokes = []
            for i in range(5):
                turn = 2 * math.pi * i / 5 - rolled
                tip = (axle + math.cos(turn) * shape.wheel * 0.5, shape.wheel + math.sin(turn) * shape.wheel * 0.5)
                spokes.append(((axle, shape.wheel, near * half), (*tip, near * half), 0.02, 0.035))
            if brush.depth < 15:
                dark = brush.tone((84, 86, 90))
                brush.limbs([(*spoke, dark) for spoke in spokes])

    def _under(self, brush: Brush, axles: tuple[float, float], half: float) -> None:
        dark = brush.tone(scaled(TYRE, 0.8))
        radius = self._shape.wheel
        for axle in axles:
            for side in (-half, half):
                inner = math.copysign(half - 0.22, side)
                for depth in (inner, side):
                    brush.face(ring((axle, radius, depth), radius), dark)
                brush.face(
                    [(axle - radius * 0.9, 0.02, inner), (axle + radius * 0.9, 0.02, inner),
                     (axle + radius * 0.9, 0.02, side), (axle - radius * 0.9, 0.02, side)], dark,
                )  # fmt: skip
                brush.faces(
                    np.array([[(axle + s * radius * 0.5, y, d) for y, d in
                               ((0.03, inner), (0.03, side), (0.3, side), (0.3, inner))] for s in (-1, 1)]), dark,
                )  # fmt: skip

    def _side(self, brush: Brush, side: float) -> None:
        shape = self._shape
        normal = (0.0, 0.0, math.copysign(1.0, side))
        seam = brush.tone(scaled(self._paint, 0.55), normal)
        lines = [[(x - 0.015, 0.34, side), (x + 0.015, 0.34, side), (x + 0.015, shape.belt, side),
                  (x - 0.015, shape.belt, side)] for x in shape.doors]  # fmt: skip
        brush.faces(np.array(lines), seam)
        ends = shape.length / 2
        brush.face([(-ends, 0.26, side), (ends, 0.26, side), (ends, 0.36, side), (-ends, 0.36, side)], seam)
        shine = brush.tone(mix(self._paint, (255, 255, 255), 0.3), normal)
        top = shape.nose - 0.05
        brush.face(
            [(-ends + 0.1, top, side), (ends - 0.2, top - 0.05, side), (ends - 0.2, top - 0.01, side),
             (-ends + 0.1, top + 0.04, side)], shine,
        )  # fmt: skip

    def _cabin(self, brush: Brush, near: float, half: float) -> None:
        shape, eye = self._shape, brush.eye
        rear, rear_top, front_top, front = shape.cabin
        low, high = shape.belt - 0.02, shape.height
        wide, narrow = half * 0.97, half * 0.8
        paint = brush.tone(self._paint, (0, 1, 0))

        def plane(a: float, b: float, facing: float) -> None:
            """Front or rear: paint with a pane in it."""
            slope = math.atan2(high - low, abs(b - a))
            normal = (facing * math.sin(slope), math.cos(slope), 0.0)
            if (eye[0] - a) * normal[0] + (eye[1] - low) * normal[1] <= 0:
                return
            brush.face([(a, low, -wide), (b, high, -narrow), (b, high, narrow), (a, low, wide)],
                       brush.tone(scaled(self._paint, 0.9), normal))  # fmt: skip
            a, b, y0, y1 = a + (b - a) * 0.12, a + (b - a) * 0.88, low + 0.06, high - 0.07
            w0, w1 = wide * 0.9, narrow * 0.9
            brush.face([(a, y0, -w0), (b, y1, -w1), (b, y1, w1), (a, y0, w0)], brush.tone(GLASS, normal))

        facing_rear = eye[0] < 0
        for a, b, way in ((front, front_top, 1.0), (rear, rear_top, -1.0))[:: 1 if facing_rear else -1]:
            plane(a, b, way)
        if eye[1] > high:
            brush.face(
                [(rear_top, high, -narrow), (front_top, high, -narrow), (front_top, high, narrow),
                 (rear_top, high, narrow)], paint,
            )  # fmt: skip
        if abs(eye[2]) > narrow:
            lower, upper = near * wide, near * narrow
            normal = (0.0, 0.3, near * 0.95)
            flank = [(rear, low, lower), (rear_top, high, upper), (front_top, high, upper), (front, low, lower)]
            brush.face(flank, brush.tone(self._paint, normal))
            pane = brush.tone(GLASS, normal)
            y0, y1 = low + 0.05, high - 0.1
            slant = 0.12 if shape.height < 2 else 0.05
            start, stop = rear + (rear_top - rear) * 0.3 + slant, front - 0.22
            edges = [start, *(x for x in shape.doors if start + 0.35 < x < stop - 0.35), stop]
            tops = [rear_top + slant * 0.7, *edges[1:-1], front_top + 0.02]
            quads = []
            for i in range(len(edges) - 1):
                a, b, c, d = edges[i], edges[i + 1], tops[i + 1], tops[i]
                gap = 0.045
                quads.append(
                    [(a + gap, y0, lower), (b - gap, y0, lower), (c - gap, y1, upper), (d + gap, y1, upper)]
                )
            brush.faces(np.array(quads), pane)
        if self._taxi:
            middle = (rear_top + front_top) / 2
            brush.limbs([((middle, high + 0.08, -0.25), (middle, high + 0.08, 0.25), 0.09, 0.09,
                          brush.glow((250, 214, 60)))])  # fmt: skip

    def _ends(self, brush: Brush, half: float, back: float, front: float) -> None:
        shape = self._shape
        ahead = brush.eye[0] > front
        if not ahead and brush.eye[0] > back:
            return
        x = front + 0.01 if ahead else back - 0.01
        y = shape.nose - 0.12 if ahead else shape.belt - 0.2
        lamp = brush.glow((255, 246, 214)) if ahead else brush.glow((226, 28, 30))
        wide, high = 0.2 * shape.width, 0.13 if ahead else 0.16
        lamps = [
            [(x, y - high, s * (half - 0.05)), (x, y - high, s * (half - wide)), (x, y, s * (half - wide)),
             (x, y, s * (half - 0.05))] for s in (-1, 1)
        ]  # fmt: skip
        dark = brush.tone((36, 37, 40))
        if ahead:
            brush.face(
                [(x, 0.42, -0.4 * half), (x, 0.42, 0.4 * half), (x, y, 0.5 * half), (x, y, -0.5 * half)], dark
            )
        brush.face([(x, 0.26, -half), (x, 0.26, half), (x, 0.38, half * 0.96), (x, 0.38, -half * 0.96)], dark)
        brush.faces(np.array(lamps), lamp)
        plate = 0.4 if ahead else 0.52
        brush.face([(x, plate, -0.26), (x, plate, 0.26), (x, plate + 0.11, 0.26), (x, plate + 0.11, -0.26)],
                   brush.tone((236, 236, 226)))  # fmt: skip


def random_car(dice: Dice, path: Path) -> Car:
    """A car of any kind."""
    shape = SHAPES[dice.pick(tuple(SHAPES), (4, 4, 2, 3, 1.5))]
    taxi = dice.chance(0.08)
    paint = (232, 196, 60) if taxi else scaled(dice.pick(_PAINTS), dice.uniform(0.85, 1.1))
    return Car(path, shape, paint, taxi=taxi and shape.height < 1.6)
