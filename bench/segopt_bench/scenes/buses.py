"""Buses: long boxes with windows, doors, wheels and lights."""

from __future__ import annotations

import math

import numpy as np

from segopt_bench.scenes.actor import Actor, Brush, Path, View, ring
from segopt_bench.scenes.camera import Vector
from segopt_bench.scenes.cars import GLASS, TYRE, body
from segopt_bench.scenes.categories import category
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.light import Rgb, scaled


class Bus(Actor):
    """A city bus."""

    category_id = category("bus").id

    def __init__(self, path: Path, length: float, paint: Rgb, stripe: Rgb) -> None:
        super().__init__(path)
        self._length, self._paint, self._stripe = length, paint, stripe

    @property
    def size(self) -> Vector:
        """Length, height and width, meters."""
        return self._length, 3.0, 2.5

    def draw(self, brush: Brush, view: View) -> None:
        """Wheels beyond, box, windows, doors, lights, wheels on this side."""
        length, height, width = self.size
        half, back, front = width / 2, -length / 2, length / 2
        eye, near = brush.eye, math.copysign(1.0, brush.eye[2])
        axles = (back + 2.0, front - 2.4)
        dark = brush.tone(TYRE)
        for axle in axles:
            for side in (-half * 0.95, -half * 0.6, half * 0.6, half * 0.95):
                brush.face(ring((axle, 0.48, side), 0.48), dark)
        profile = [(back, 0.3), (back, height - 0.15), (back + 0.2, height), (front - 0.35, height),
                   (front, height - 0.5), (front, 0.3)]  # fmt: skip
        body(brush, self._paint, profile, half)
        if abs(eye[2]) > half:
            self._side(brush, near * (half + 0.01), back, front)
            for axle in axles:
                brush.wheel((axle, 0.5, near * half), 0.6, brush.tone(scaled(TYRE, 0.7)))
                brush.wheel((axle, 0.48, near * half), 0.48, dark)
                brush.wheel((axle, 0.48, near * half), 0.26, brush.tone((150, 150, 152)))
        if eye[0] > front or eye[0] < back:
            self._end(brush, half, front + 0.01 if eye[0] > front else back - 0.01, front=eye[0] > front)
        del view

    def _side(self, brush: Brush, side: float, back: float, front: float) -> None:
        normal = (0.0, 0.0, math.copysign(1.0, side))
        brush.face([(back, 0.75, side), (front, 0.75, side), (front, 1.05, side), (back, 1.05, side)],
                   brush.tone(self._stripe, normal))  # fmt: skip
        count = round((front - back - 1) / 1.35)
        step = (front - back - 0.8) / count
        starts = [back + 0.4 + i * step for i in range(count)]
        panes = [[(x + 0.06, 1.3, side), (x + step - 0.06, 1.3, side), (x + step - 0.06, 2.45, side),
                  (x + 0.06, 2.45, side)] for x in starts]  # fmt: skip
        glass = brush.glow((236, 216, 160)) if brush.lamps else brush.tone(GLASS, normal)
        brush.faces(np.array(panes), glass)
        if side > 0:
            doors = [[(x + 0.06, 0.4, side), (x + step - 0.06, 0.4, side), (x + step - 0.06, 2.45, side),
                      (x + 0.06, 2.45, side)] for x in (starts[-1], starts[len(starts) // 2])]  # fmt: skip
            brush.faces(np.array(doors), brush.tone(scaled(GLASS, 0.8), normal))

    def _end(self, brush: Brush, half: float, x: float, *, front: bool) -> None:
        low, high = (1.1, 2.45) if front else (1.6, 2.5)
        wide = half * 0.92
        pane = [(x, low, -wide), (x, low, wide), (x, high, wide), (x, high, -wide)]
        brush.face(pane, brush.tone(GLASS, (1.0 if front else -1.0, 0, 0)))
        lamp = brush.glow((255, 246, 214) if front else (226, 28, 30))
        lamps = [[(x, 0.6, s * half * 0.95), (x, 0.6, s * half * 0.68), (x, 0.82, s * half * 0.68),
                  (x, 0.82, s * half * 0.95)] for s in (-1, 1)]  # fmt: skip
        brush.faces(np.array(lamps), lamp)
        dark = brush.tone((38, 39, 42))
        brush.face([(x, 0.3, -half), (x, 0.3, half), (x, 0.46, half), (x, 0.46, -half)], dark)
        brush.face(
            [(x, 2.5, -half * 0.6), (x, 2.5, half * 0.6), (x, 2.75, half * 0.55), (x, 2.75, -half * 0.55)], dark
        )
        brush.face([(x, 2.56, -half * 0.2), (x, 2.56, half * 0.4), (x, 2.69, half * 0.4), (x, 2.69, -half * 0.2)],
                   brush.glow((255, 170, 40)))  # fmt: skip


def random_bus(dice: Dice, path: Path) -> Bus:
    """A bus of any livery."""
    paint = dice.pick(((196, 40, 40), (232, 230, 222), (40, 92, 160), (226, 170, 40), (60, 130, 86)))
    stripe = dice.pick(((240, 240, 236), (46, 50, 60), (210, 60, 50), (60, 120, 180)))
    return Bus(path, dice.uniform(8.0, 11.5), scaled(paint, dice.uniform(0.9, 1.05)), stripe)
