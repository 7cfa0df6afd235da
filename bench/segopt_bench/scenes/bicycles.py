"""Bicycles, parked or ridden."""

from __future__ import annotations

import itertools
import math

from segopt_bench.scenes.actor import Actor, Brush, Path, View
from segopt_bench.scenes.camera import Vector
from segopt_bench.scenes.categories import category
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.light import Rgb, scaled

_RADIUS = 0.34
_BASE = 1.06
_PAINTS: tuple[Rgb, ...] = (
    (200, 40, 44),
    (30, 96, 170),
    (36, 38, 42),
    (60, 140, 84),
    (236, 180, 40),
    (226, 226, 222),
)


class Bicycle(Actor):
    """A city bicycle. Its wheels count as discs, spokes and what is between them, as people annotate them."""

    category_id = category("bicycle").id

    def __init__(self, path: Path, paint: Rgb, *, basket: bool) -> None:
        super().__init__(path)
        self._paint, self._basket = paint, basket

    @property
    def size(self) -> Vector:
        """Length, height and width, meters."""
        return 1.75, 1.05, 0.5

    def draw(self, brush: Brush, view: View) -> None:
        """Wheels, frame, saddle, handlebars."""
        rear, front = (-_BASE / 2, _RADIUS, 0.0), (_BASE / 2, _RADIUS, 0.0)
        tyre, spoke = brush.tone((28, 28, 30)), brush.tone((150, 152, 156))
        rolled = self.path.speed * (view.time - self.path.since) / _RADIUS
        for hub in (rear, front):
            # Seen along its plane a wheel is its tyre's width, not a line.
            rim = [(math.cos(a), math.sin(a)) for a in (math.pi * i / 8 for i in range(16))]
            at = [(hub[0] + _RADIUS * c, hub[1] + _RADIUS * s, 0.0) for c, s in rim]
            brush.wheel(hub, _RADIUS * 0.96, spoke, 150)
            ends = [(at[i], at[(i + 1) % 16], 0.034, 0.034, tyre) for i in range(16)]
            brush.limbs(ends)
            if brush.depth < 14:
                brush.limbs(
                    [
                        ((hub[0] + 0.3 * math.cos(a), hub[1] + 0.3 * math.sin(a), 0.0),
                         (hub[0] - 0.3 * math.cos(a), hub[1] - 0.3 * math.sin(a), 0.0), 0.006, 0.006, spoke)
                        for a in (math.pi * i / 4 - rolled for i in range(4))
                    ]
                )  # fmt: skip
        paint, dark = brush.tone(self._paint), brush.tone((34, 34, 36))
        crank = (-0.05, 0.30, 0.0)
        seat, head = (-0.25, 0.84, 0.0), (0.34, 0.86, 0.0)
        thick = 0.03
        tubes = [
            (rear, crank), (rear, (-0.21, 0.74, 0.0)), (crank, seat), (crank, (0.36, 0.78, 0.0)),
            ((-0.2, 0.7, 0.0), head), (head, front),
        ]  # fmt: skip
        brush.limbs([(a, b, thick, thick, paint) for a, b in tubes])
        pedal = (0.15 * math.cos(rolled / 2.5), 0.15 * math.sin(rolled / 2.5))
        brush.limbs(
            [
                (crank, (crank[0] + 0.01, crank[1], 0.0), 0.08, 0.08, dark),
                ((crank[0] - pedal[0], crank[1] + pedal[1], -0.08),
                 (crank[0] + pedal[0], crank[1] - pedal[1], 0.08), 0.022, 0.022, dark),
                ((-0.36, 0.9, 0.0), (-0.14, 0.91, 0.0), 0.06, 0.035, dark),
                (head, (0.32, 1.02, 0.0), thick * 0.8, thick * 0.8, dark),
                ((0.30, 1.03, -0.27), (0.30, 1.03, 0.27), 0.024, 0.024, dark),
            ]
        )  # fmt: skip
        fender = brush.tone(scaled(self._paint, 0.8))
        for hub in (rear, front):
            turns = [0.35 + 0.35 * i for i in range(7)]
            arc: list[Vector] = [(hub[0] + 0.38 * math.cos(a), hub[1] + 0.38 * math.sin(a), 0.0) for a in turns]
            brush.limbs([(a, b, 0.018, 0.018, fender) for a, b in itertools.pairwise(arc)])
        if self._basket:
            brush.limbs([((0.52, 0.82, s * 0.08), (0.52, 0.98, s * 0.1), 0.1, 0.13, brush.tone((120, 88, 54)))
                         for s in (-1, 1)])  # fmt: skip


def random_bicycle(dice: Dice, path: Path) -> Bicycle:
    """Any bicycle."""
    return Bicycle(path, scaled(dice.pick(_PAINTS), dice.uniform(0.85, 1.1)), basket=dice.chance(0.35))
