"""People: jointed figures that walk, stand, wave and ride."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segopt_bench.scenes.actor import Actor, Brush, Path, View
from segopt_bench.scenes.camera import Points, Vector
from segopt_bench.scenes.categories import category
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.light import Rgb, scaled

_SKINS: tuple[Rgb, ...] = ((236, 194, 164), (214, 164, 128), (170, 118, 84), (116, 78, 56), (84, 58, 44))
_HAIRS: tuple[Rgb, ...] = (
    (38, 30, 26),
    (86, 58, 36),
    (150, 108, 58),
    (196, 168, 110),
    (150, 148, 146),
    (120, 52, 30),
)
_CLOTHES: tuple[Rgb, ...] = (
    (190, 44, 50), (40, 80, 160), (56, 130, 90), (230, 226, 216), (42, 44, 52), (226, 168, 50), (132, 70, 140),
    (92, 98, 108), (210, 116, 132), (70, 150, 170), (150, 100, 62), (240, 120, 50),
)  # fmt: skip
_TROUSERS: tuple[Rgb, ...] = (
    (46, 58, 92),
    (36, 36, 40),
    (112, 98, 78),
    (84, 86, 92),
    (70, 52, 44),
    (150, 142, 126),
)


@dataclass(frozen=True)
class Look:
    """How a person is built and dressed."""

    height: float
    """Meters."""
    stout: float
    """Breadth, 1 is average."""
    skin: Rgb
    hair: Rgb
    top: Rgb
    legs: Rgb
    shoes: Rgb
    dress: str
    """``trousers``, ``shorts`` or ``skirt``."""
    long_hair: bool
    hat: Rgb | None
    pack: Rgb | None
    """A rucksack."""
    pose: str
    """``walk``, ``stand``, ``wave`` or ``ride``."""
    phase: float


class Person(Actor):
    """Someone on foot, or on a bicycle."""

    category_id = category("person").id

    def __init__(self, path: Path, look: Look) -> None:
        super().__init__(path)
        self.look = look

    @property
    def size(self) -> Vector:
        """Length, height and width, meters."""
        return 0.6, self.look.height, 0.5

    def solid(self) -> Points:
        """Feet, shoulders and head."""
        h = self.look.height
        points = [(s * 0.12, 0.0, d * 0.14) for s in (-1, 1) for d in (-1, 1)]
        points += [(0.0, 0.82 * h, -0.2), (0.0, 0.82 * h, 0.2), (0.0, h, -0.07), (0.0, h, 0.07)]
        return np.array(points)

    def draw(self, brush: Brush, view: View) -> None:
        """From the far side to the near one."""
        look, h = self.look, self.look.height
        turn = look.phase
        if look.pose in ("walk", "ride"):
            stride = 0.82 * h if look.pose == "walk" else 1.9
            turn += 2 * math.pi * self.path.speed * (view.time - self.path.since) / stride
        near = 1.0 if brush.eye[2] > 0 else -1.0
        seat = 0.5 * h if look.pose != "ride" else 0.92
        back = -0.30 if look.pose == "ride" else 0.0
        lean = 0.26 if look.pose == "ride" else 0.03
        hips: Vector = (back, seat, 0.0)
        neck: Vector = (back + lean, seat + 0.31 * h, 0.0)
        legs = {side: self._leg(brush, hips, side, turn) for side in (-near, near)}
        arms = {side: self._arm(brush, neck, side, turn, view.time) for side in (-near, near)}
        from_front = brush.eye[0] > 0
        brush.limbs(arms[-near] + legs[-near])
        if look.pack and from_front:
            self._pack(brush, neck)
        brush.limbs(legs[near])
        self._torso(brush, hips, neck)
        if not from_front:
            self._head(brush, neck, from_front=False)
            if look.pack:
                self._pack(brush, neck)
        else:
            self._head(brush, neck, from_front=True)
        brush.limbs(arms[near])

    def _leg(self, brush: Brush, hips: Vector, side: float, turn: float) -> list[_Limb]:
        look, h, pose = self.look, self.look.height, self.look.pose
        thigh, shin = 0.245 * h, 0.245 * h
        hip = (hips[0], hips[1], side * 0.052 * h * look.stout)
        if pose == "ride":
            angle = turn + (0 if side > 0 else math.pi)
            foot = (0.05 + 0.17 * math.cos(angle), 0.30 + 0.17 * math.sin(angle), side * 0.11)
            knee = _knee((hip[0], hip[1]), (foot[0], foot[1] + 0.05), 0.46)
            knee_at = (*knee, side * 0.12)
        else:
            swing = math.sin(turn + (0 if side > 0 else math.pi))
            lift = max(0.0, math.cos(turn + (0 if side > 0 else math.pi)))
            if pose != "walk":
                swing, lift = 0.12 * side, 0.0
            angle = 0.42 * swing + 0.15 * lift
            knee_at = (hip[0] + thigh * math.sin(angle), hip[1] - thigh * math.cos(angle), hip[2])
            fold = angle - 0.75 * lift - 0.08
            ankle = (knee_at[0] + shin * math.sin(fold), max(0.05, knee_at[1] - shin * math.cos(fold)))
            foot = (ankle[0], ankle[1] - 0.02, hip[2])
        cloth = brush.tone(look.legs)
        bare = brush.tone(look.skin)
        wide = 0.05 * h * look.stout
        lower = cloth if look.dress == "trousers" else bare
        shoe = brush.tone(look.shoes)
        toe = (foot[0] + 0.075 * h, max(0.035, foot[1] - 0.035), foot[2])
        return [
            (hip, knee_at, wide, wide * 0.74, cloth if look.dress != "skirt" else bare),
            (knee_at, foot, wide * 0.70, wide * 0.5, lower),
            ((foot[0] - 0.01, foot[1], foot[2]), toe, 0.026 * h, 0.021 * h, shoe),
        ]

    def _arm(self, brush: Brush, neck: Vector, side: float, turn: float, time: float) -> list[_Limb]:
        look, h, pose = self.look, self.look.height, self.look.pose
        shoulder = (neck[0], neck[1] - 0.02 * h, side * 0.115 * h * look.stout)
        upper = 0.165 * h
        if pose == "ride":
            hand: Vector = (0.38, 1.05, side * 0.24)
            elbow = ((shoulder[0] + hand[0]) / 2 - 0.04, (shoulder[1] + hand[1]) / 2 - 0.08, side * 0.26)
        elif pose == "wave" and side > 0:
            elbow = (neck[0] + 0.02, shoulder[1] + 0.05 * h, side * 0.27 * h * 0.9)
            hand = (elbow[0], elbow[1] + 0.16 * h, elbow[2] + 0.07 * h * math.sin(7 * time + look.phase))
        else:
            swing = 0.5 * math.sin(turn + (math.pi if side > 0 else 0)) if pose == "walk" else 0.06 * side
            elbow = (
                shoulder[0] + upper * math.sin(swing), shoulder[1] - upper * math.cos(swing), shoulder[2] * 1.12
            )  # fmt: skip
            fold = swing + 0.3
            hand = (elbow[0] + upper * math.sin(fold), elbow[1] - upper * math.cos(fold), elbow[2])
        sleeve = brush.tone(scaled(look.top, 0.9))
        skin = brush.tone(look.skin)
        wide = 0.033 * h * look.stout
        return [
            (shoulder, elbow, wide, wide * 0.85, sleeve),
            (elbow, hand, wide * 0.8, wide * 0.68, skin if look.dress == "shorts" else sleeve),
            (hand, hand, wide * 0.85, wide * 0.85, skin),
        ]

    def _torso(self, brush: Brush, hips: Vector, neck: Vector) -> None:
        look, h = self.look, self.look.height
        top = brush.tone(look.top)
        wide, waist = 0.1 * h * look.stout, 0.072 * h * look.stout
        core = 0.068 * h * look.stout
        if look.dress == "skirt":
            cloth = brush.tone(look.legs)
            brush.limbs(
                [((hips[0], hips[1] - 0.17 * h, s * 0.03 * h), (hips[0], hips[1] + 0.04 * h, 0.0), core * 1.35,
                  core, cloth) for s in (-1, 1)]
            )  # fmt: skip
        low = hips[1] + 0.005 * h
        chest = (neck[0] * 0.8 + hips[0] * 0.2, neck[1] - 0.06 * h)
        parts: list[_Limb] = [
            (
                (hips[0], low, s * (waist - core * 0.8)),
                (chest[0], chest[1], s * (wide - core * 0.62)),
                core,
                core,
                top,
            )
            for s in (-1, 1)
        ]
        parts.append(((hips[0], low, 0.0), (chest[0], chest[1] + 0.03 * h, 0.0), core, core * 0.9, top))
        parts.append(((neck[0], neck[1], 0.0), (neck[0] + 0.01, neck[1] + 0.06 * h, 0.0), 0.03 * h, 0.028 * h,
                      brush.tone(scaled(look.skin, 0.88))))  # fmt: skip
        brush.limbs(parts)

    def _head(self, brush: Brush, neck: Vector, *, from_front: bool) -> None:
        look, h = self.look, self.look.height
        x, y = neck[0] + 0.02 * h, neck[1] + 0.115 * h
        size = 0.064 * h * (1.0 if h > 1.4 else 1.2)
        skin, hair = brush.tone(look.skin), brush.tone(look.hair)
        long = [((x - 0.5 * size, y, 0.0), (x - 0.75 * size, y - 2.0 * size, 0.0), size * 0.85, size * 0.6, hair)]
        face = [((x, y + 0.15 * size, 0.0), (x + 0.1 * size, y - 0.3 * size, 0.0), size * 0.92, size * 0.78, skin)]
        scalp = [((x - 0.3 * size, y + 0.42 * size, 0.0), (x + 0.1 * size, y + 0.5 * size, 0.0), size * 0.84,
                  size * 0.72, hair)]  # fmt: skip
        nape = [((x - 0.45 * size, y + 0.3 * size, 0.0), (x - 0.5 * size, y - 0.3 * size, 0.0), size * 0.75,
                 size * 0.62, hair)]  # fmt: skip
        if from_front:
            brush.limbs((long if look.long_hair else []) + nape + scalp + face)
            fringe = (x - 0.1 * size, y + 0.68 * size, 0.0), (x + 0.25 * size, y + 0.66 * size, 0.0)
            brush.limbs([(*fringe, size * 0.6, size * 0.5, hair)])
        else:
            brush.limbs(face + scalp + nape + (long if look.long_hair else []))
        if look.hat is not None:
            tone = brush.tone(look.hat)
            brush.limbs(
                [((x - 0.2 * size, y + 0.7 * size, 0.0), (x + 0.1 * size, y + 0.75 * size, 0.0), size * 0.85,
                  size * 0.8, tone),
                 ((x, y + 0.5 * size, 0.0), (x + 1.3 * size, y + 0.42 * size, 0.0), size * 0.3, size * 0.16, tone)]
            )  # fmt: skip

    def _pack(self, brush: Brush, neck: Vector) -> None:
        assert self.look.pack is not None
        h, tone = self.look.height, brush.tone(self.look.pack)
        x = neck[0] - 0.1 * h
        brush.limbs([((x, neck[1] - 0.04 * h, s * 0.03 * h), (x, neck[1] - 0.2 * h, s * 0.035 * h), 0.055 * h,
                      0.062 * h, tone) for s in (-1, 1)])  # fmt: skip


_Limb = tuple[Vector, Vector, float, float, tuple[int, int, int]]


def _knee(hip: tuple[float, float], foot: tuple[float, float], bone: float) -> tuple[float, float]:
    """Where a knee bends forwards between a hip and a foot, both bones of this length."""
    x, y = foot[0] - hip[0], foot[1] - hip[1]
    length = math.hypot(x, y)
    out = math.sqrt(max(0.0, bone**2 - (length / 2) ** 2))
    return (hip[0] + x / 2 - y / length * out, hip[1] + y / 2 + x / length * out)


def random_look(dice: Dice, *, riding: bool = False, walking: bool = True) -> Look:
    """Anyone."""
    child = not riding and dice.chance(0.18)
    height = dice.uniform(1.05, 1.4) if child else dice.uniform(1.55, 1.9)
    dress = dice.pick(("trousers", "shorts", "skirt"), (6, 2, 0 if riding else 2))
    return Look(
        height=height,
        stout=dice.uniform(0.95, 1.4),
        skin=dice.pick(_SKINS),
        hair=dice.pick(_HAIRS),
        top=scaled(dice.pick(_CLOTHES), dice.uniform(0.85, 1.1)),
        legs=scaled(dice.pick(_CLOTHES if dress == "skirt" else _TROUSERS), dice.uniform(0.85, 1.15)),
        shoes=dice.pick(((40, 36, 34), (220, 220, 216), (110, 70, 44), (170, 50, 50))),
        dress=dress,
        long_hair=dice.chance(0.4),
        hat=dice.pick(_CLOTHES) if dice.chance(0.22) or (riding and dice.chance(0.5)) else None,
        pack=dice.pick(_CLOTHES) if dice.chance(0.25) else None,
        pose="ride" if riding else ("walk" if walking else dice.pick(("stand", "wave"), (3, 1))),
        phase=dice.uniform(0, 2 * math.pi),
    )
