"""Dogs, balls and signs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segopt_bench.scenes.actor import Actor, Brush, Path, View
from segopt_bench.scenes.camera import Points, Vector
from segopt_bench.scenes.categories import category
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.light import Rgb, mix, scaled

_RED, _BLUE, _WHITE, _YELLOW, _BLACK = (
    (198, 34, 40), (36, 84, 170), (238, 238, 234), (240, 196, 40), (34, 34, 36)
)  # fmt: skip


@dataclass(frozen=True)
class Coat:
    """How a dog looks."""

    length: float
    """From chest to rump, meters."""
    leg: float
    """Length of its legs, meters."""
    fur: Rgb
    patch: Rgb
    floppy: bool
    phase: float


class Dog(Actor):
    """A dog that trots or stands."""

    category_id = category("dog").id

    def __init__(self, path: Path, coat: Coat) -> None:
        super().__init__(path)
        self._coat = coat

    @property
    def size(self) -> Vector:
        """Length, height and width, meters."""
        coat = self._coat
        return coat.length * 1.7, coat.leg + coat.length * 0.7, 0.3

    def draw(self, brush: Brush, view: View) -> None:
        """Legs beyond, tail, body, head, legs on this side."""
        coat = self._coat
        long, leg = coat.length, coat.leg
        turn = coat.phase + 2 * math.pi * self.path.speed * (view.time - self.path.since) / (2.2 * leg + 0.3)
        near = 1.0 if brush.eye[2] > 0 else -1.0
        fur, dark = brush.tone(coat.fur), brush.tone(scaled(coat.fur, 0.82))
        patch = brush.tone(coat.patch)
        back = leg + 0.16 * long
        thick = 0.19 * long

        def legs(side: float) -> list[tuple[Vector, Vector, float, float, tuple[int, int, int]]]:
            parts = []
            for i, x in enumerate((-0.4 * long, 0.38 * long)):
                swing = (
                    0.5 * math.sin(turn + math.pi * (i + (side > 0))) if self.path.speed else 0.06 * (1 - 2 * i)
                )
                knee = (x + 0.5 * leg * math.sin(swing), leg * 0.52, side * 0.1 * long)
                fold = swing - 0.35 * max(0.0, math.cos(turn + math.pi * (i + (side > 0)))) * (self.path.speed > 0)
                foot = (knee[0] + 0.5 * leg * math.sin(fold), 0.03, side * 0.1 * long)
                tone = fur if side == near else dark
                parts.append(((x, leg, side * 0.1 * long), knee, 0.09 * long, 0.062 * long, tone))
                parts.append((knee, foot, 0.062 * long, 0.052 * long, tone))
            return parts

        wag = 0.25 * math.sin(9 * view.time + coat.phase)
        tail = ((-0.5 * long, back + 0.05, 0.0), (-0.72 * long, back + 0.3 * long, wag * long), 0.055 * long,
                0.035 * long, fur)  # fmt: skip
        trunk = [
            ((-0.4 * long, back, 0.0), (0.36 * long, back + 0.02, 0.0), thick * 0.92, thick * 1.08, fur),
            ((-0.12 * long, back + 0.05 * long, 0.0), (0.1 * long, back + 0.04 * long, 0.0), thick * 0.9,
             thick * 0.9, patch),
        ]  # fmt: skip
        y = back + 0.32 * long
        head = [
            ((0.4 * long, back + 0.06 * long, 0.0), (0.56 * long, y, 0.0), thick * 0.8, thick * 0.62, fur),
            ((0.58 * long, y + 0.02, 0.0), (0.6 * long, y + 0.02, 0.0), thick * 0.82, thick * 0.8, fur),
            ((0.62 * long, y - 0.02, 0.0), (0.86 * long, y - 0.06 * long, 0.0), thick * 0.5, thick * 0.36, fur),
            ((0.88 * long, y - 0.05 * long, 0.0), (0.89 * long, y - 0.05 * long, 0.0), thick * 0.22, thick * 0.2,
             brush.tone((26, 24, 24))),
        ]  # fmt: skip
        tip = -0.12 if coat.floppy else 0.24
        ears = [((0.52 * long, y + 0.1 * long, s * 0.09 * long), (0.5 * long, y + tip * long, s * 0.13 * long),
                 thick * 0.32, thick * 0.2, patch) for s in (-near, near)]  # fmt: skip
        brush.limbs(legs(-near))
        parts = [tail, *trunk, *legs(near), *head, *ears]
        if brush.eye[0] < -0.6 * long:
            parts = [*head, *ears, *trunk[::-1], *legs(near), tail]
        brush.limbs(parts)


class Ball(Actor):
    """A ball that lies, rolls or bounces."""

    category_id = category("ball").id

    def __init__(self, path: Path, radius: float, colors: tuple[Rgb, Rgb], *, bounce: float, phase: float) -> None:
        super().__init__(path)
        self._radius, self._colors, self._bounce, self._phase = radius, colors, bounce, phase

    @property
    def size(self) -> Vector:
        """Length, height and width, meters."""
        return 2 * self._radius, 2 * self._radius, 2 * self._radius

    def lift(self, time: float) -> float:
        """Height above the ground, meters."""
        if self._bounce == 0:
            return 0.0
        period = 2 * math.sqrt(2 * self._bounce / 9.81)
        share = (time / period + self._phase) % 1.0
        return 4 * self._bounce * share * (1 - share)

    def draw(self, brush: Brush, view: View) -> None:
        """A disc with six gores that turn with it."""
        radius = self._radius
        center = (0.0, radius + self.lift(view.time), 0.0)
        pixels, scale = brush.pixels([center])
        size = radius * scale
        base, other = self._colors
        dark, tone = brush.tone(scaled(base, 0.72)), brush.tone(base)
        brush.sketch.disc(pixels[0], size, dark)
        brush.sketch.disc(pixels[0] - size * 0.06, size * 0.93, tone)
        rolled = self._phase * 6 + self.path.speed * (view.time - self.path.since) / radius
        facing = 1.0 if brush.eye[2] > 0 else -1.0
        gore = brush.tone(other)
        turn = np.linspace(0, np.pi / 3, 5)
        for i in range(3):
            start = rolled * facing + i * 2 * np.pi / 3
            arc = np.stack([np.cos(turn + start), np.sin(turn + start)], axis=1) * size * 0.9
            brush.sketch.polygon(np.concatenate((pixels, pixels[0] + arc)), gore)
        brush.sketch.disc(pixels[0], size * 0.2, brush.tone(mix(base, _WHITE, 0.6)))
        brush.sketch.disc(pixels[0] - size * 0.42, size * 0.16, brush.tone(mix(base, _WHITE, 0.8)))


class Sign(Actor):
    """A traffic sign on a pole; its own ``ahead`` is where its face looks."""

    category_id = category("sign").id

    def __init__(self, path: Path, kind: str, height: float, radius: float) -> None:
        super().__init__(path)
        self._kind, self._height, self._radius = kind, height, radius

    @property
    def size(self) -> Vector:
        """Length, height and width, meters."""
        return 0.2, self._height + self._radius, 2 * self._radius

    def solid(self) -> Points:
        """Pole and face."""
        r = self._radius
        points = [(0.0, 0.0, -0.05), (0.0, 0.0, 0.05)]
        points += [(0.0, self._height + r * math.sin(a), r * math.cos(a)) for a in np.linspace(0, 2 * np.pi, 9)]
        return np.array(points)

    def draw(self, brush: Brush, view: View) -> None:
        """The pole, then the face."""
        pole = brush.tone((150, 154, 160))
        brush.limbs([((0.0, 0.0, 0.0), (0.0, self._height, 0.0), 0.055, 0.055, pole)])
        if brush.eye[0] < 0:
            self._shape(brush, 1.0, (140, 142, 146))
            return
        rim, field = _FIELDS[self._kind]
        self._shape(brush, 1.0, rim)
        self._shape(brush, 0.78, field)
        white, black = brush.tone(_WHITE, (1, 0, 0)), brush.tone(_BLACK, (1, 0, 0))
        if self._kind in ("stop", "entry"):
            self._bar(brush, -0.55, 0.55, -0.14, 0.14, white)
        elif self._kind == "limit":
            self._bar(brush, -0.4, -0.06, -0.36, 0.36, black)
            self._bar(brush, 0.06, 0.4, -0.36, 0.36, black)
            self._bar(brush, 0.16, 0.3, -0.2, 0.2, white)
        elif self._kind == "warning":
            self._bar(brush, -0.09, 0.09, -0.12, 0.34, black)
            self._bar(brush, -0.09, 0.09, -0.36, -0.2, black)
        elif self._kind == "parking":
            self._bar(brush, -0.3, -0.1, -0.5, 0.5, white)
            self._bar(brush, -0.1, 0.32, 0.3, 0.5, white)
            self._bar(brush, -0.1, 0.32, -0.08, 0.1, white)
            self._bar(brush, 0.14, 0.34, -0.08, 0.5, white)
        elif self._kind == "way":
            self._bar(brush, -0.5, 0.15, -0.12, 0.12, white)
            self._polygon(brush, [(0.1, 0.35), (0.58, 0.0), (0.1, -0.35)], white)
        del view

    def _shape(self, brush: Brush, share: float, color: Rgb) -> None:
        corners, offset = {"stop": (8, 0.5), "warning": (3, 0.75), "parking": (4, 0.5), "diamond": (4, 0.0)}.get(
            self._kind, (24, 0.0)
        )
        turns = [2 * math.pi * (i + offset) / corners for i in range(corners)]
        grown = 1.15 if corners == 3 else 1.0
        self._polygon(
            brush,
            [(share * grown * math.cos(a), share * grown * math.sin(a)) for a in turns],
            brush.tone(color, (1, 0, 0)),
        )

    def _bar(self, brush: Brush, a: float, b: float, low: float, high: float, color: tuple[int, int, int]) -> None:
        self._polygon(brush, [(a, low), (b, low), (b, high), (a, high)], color)

    def _polygon(self, brush: Brush, points: list[tuple[float, float]], color: tuple[int, int, int]) -> None:
        # From in front, the sign's own right is the picture's left.
        r = self._radius
        brush.face([(0.04, self._height + r * y, -r * x) for x, y in points], color)


_FIELDS: dict[str, tuple[Rgb, Rgb]] = {
    "stop": (_WHITE, _RED),
    "entry": (_WHITE, _RED),
    "limit": (_RED, _WHITE),
    "warning": (_RED, _WHITE),
    "parking": (_WHITE, _BLUE),
    "way": (_WHITE, _BLUE),
    "diamond": (_WHITE, _YELLOW),
}


def random_dog(dice: Dice, path: Path) -> Dog:
    """Any breed."""
    fur = dice.pick(((150, 104, 60), (58, 46, 40), (214, 186, 140), (226, 220, 210), (110, 76, 52), (50, 50, 54)))
    length = dice.uniform(0.5, 0.9)
    coat = Coat(
        length=length,
        leg=length * dice.uniform(0.38, 0.62),
        fur=scaled(fur, dice.uniform(0.85, 1.1)),
        patch=scaled(fur, 0.7) if dice.chance(0.6) else (60, 46, 38),
        floppy=dice.chance(0.6),
        phase=dice.uniform(0, 6.3),
    )
    return Dog(path, coat)


def random_ball(dice: Dice, path: Path) -> Ball:
    """A football, a beach ball, a toy."""
    colors: tuple[Rgb, Rgb] = dice.pick(
        ((_WHITE, _BLACK), (_WHITE, _RED), (_YELLOW, _BLUE), (_RED, _WHITE), ((224, 120, 44), (60, 40, 30)),
         ((70, 170, 90), _WHITE), ((210, 70, 150), _WHITE), (_BLUE, _YELLOW))
    )  # fmt: skip
    bounce = dice.uniform(0.2, 0.9) if dice.chance(0.4) else 0.0
    return Ball(path, dice.uniform(0.13, 0.36), colors, bounce=bounce, phase=dice.uniform(0, 1))


def random_sign(dice: Dice, path: Path) -> Sign:
    """Any sign."""
    return Sign(path, dice.pick(tuple(_FIELDS)), dice.uniform(1.9, 2.5), dice.uniform(0.32, 0.45))
