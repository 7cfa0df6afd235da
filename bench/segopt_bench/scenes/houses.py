"""Rows of houses: boxes with windows, doors, shops and roofs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segopt_bench.scenes.camera import Camera, Points, Vector
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.light import Bgr, Light, Rgb, scaled
from segopt_bench.scenes.sketch import Sketch
from segopt_bench.scenes.street import Side, Street, Surface

_PLASTER: tuple[Rgb, ...] = (
    (214, 196, 160), (224, 214, 198), (196, 160, 128), (188, 198, 204), (220, 178, 140), (170, 182, 160),
    (206, 168, 168), (232, 226, 214),
)  # fmt: skip
_BRICK: tuple[Rgb, ...] = ((156, 84, 66), (132, 76, 62), (176, 112, 82), (150, 106, 88))
_CONCRETE: tuple[Rgb, ...] = ((150, 152, 154), (128, 132, 138), (172, 170, 164))
_ROOFS: tuple[Rgb, ...] = ((146, 76, 58), (92, 66, 60), (84, 88, 96), (120, 92, 74))


@dataclass(frozen=True)
class House:
    """A box along the street, in street coordinates."""

    side: Side
    front: float
    """Distance of its front from the middle of the road, meters."""
    z0: float
    z1: float
    height: float
    depth: float
    wall: Rgb
    bricks: bool
    roof: Rgb
    gable: float
    """Height of a pitched roof, 0 for a flat one."""
    storey: float
    window: tuple[float, float]
    """Width and height of a window, meters."""
    spacing: float
    shop: bool
    frame: Rgb
    lit: int
    """Seed of which windows are lit."""


def random_houses(dice: Dice, street: Street) -> list[House]:
    """The houses of both sides."""
    houses: list[House] = []
    for side in street.sides:
        if side.kind != "houses":
            continue
        suburb = dice.chance(0.35)
        z = dice.uniform(-45, -30)
        while z < 120:
            width = dice.uniform(8, 13) if suburb else dice.uniform(8, 24)
            houses.append(_random_house(dice, side, street.front(side), z, z + width, suburb))
            z += width + (dice.uniform(3, 9) if suburb else dice.pick((0.0, dice.uniform(2, 12)), (4, 1)))
    return houses


def _random_house(dice: Dice, side: Side, front: float, z0: float, z1: float, suburb: bool) -> House:
    style = dice.pick(("plaster", "brick", "concrete"), (5, 3, 1 if suburb else 3))
    storeys = dice.integer(1, 2) if suburb else dice.integer(2, 7)
    storey = dice.uniform(2.8, 3.6)
    window = (dice.uniform(0.9, 1.4), dice.uniform(1.1, 1.8))
    if style == "concrete":
        window = (dice.uniform(1.4, 2.6), dice.uniform(1.3, 2.0))
    wall = dice.pick({"plaster": _PLASTER, "brick": _BRICK, "concrete": _CONCRETE}[style])
    light_frame = dice.chance(0.7)
    return House(
        side=side,
        front=front + (dice.uniform(0, 2.5) if suburb else dice.uniform(0, 0.6)),
        z0=z0,
        z1=z1,
        height=storeys * storey + 0.6,
        depth=dice.uniform(8, 14),
        wall=scaled(wall, dice.uniform(0.85, 1.08)),
        bricks=style == "brick",
        roof=scaled(dice.pick(_ROOFS), dice.uniform(0.85, 1.15)),
        gable=dice.uniform(2, 4.5) if suburb or (style != "concrete" and dice.chance(0.5)) else 0.0,
        storey=storey,
        window=window,
        spacing=window[0] + dice.uniform(0.8, 1.8),
        shop=not suburb and dice.chance(0.5),
        frame=(235, 232, 226) if light_frame else (70, 64, 60),
        lit=dice.integer(0, 1 << 30),
    )


class Builder:
    """Draws houses, the farthest first."""

    def __init__(self, street: Street, camera: Camera, light: Light, sketch: Sketch) -> None:
        self._street, self._camera, self._light, self._sketch = street, camera, light, sketch

    def draw(self, houses: list[House]) -> None:
        """Draw all of them."""
        x, _, z = self._camera.position
        for house in sorted(houses, key=lambda house: -self._distance(house, x, z)):
            self._house(house)

    def _distance(self, house: House, x: float, z: float) -> float:
        middle = (house.z0 + house.z1) / 2
        return math.hypot(house.side.sign * house.front + self._street.bend(middle) - x, middle - z)

    def _face(self, points: list[Vector], color: Bgr, surface: Surface) -> bool:
        outline = self._camera.outline(self._street.to_world(np.array(points)))
        if outline is None:
            return False
        self._sketch.polygon(outline, color, surface)
        return True

    def _house(self, house: House) -> None:
        light, sign = self._light, house.side.sign
        front, back = sign * house.front, sign * (house.front + house.depth)
        ridge, top, peak = (front + back) / 2, house.height, house.height + house.gable
        middle = (house.z0 + house.z1) / 2
        x, _, z = self._camera.position
        corners = np.array([(side, 0.0, end) for side in (front, back) for end in (house.z0, house.z1)])
        view = self._camera.to_view(self._street.to_world(corners))
        edge = np.maximum(view[:, 2], 0) * (self._camera.width / 2 / self._camera.focal * 1.05) + 0.5
        if (view[:, 2] < 0).all() or (view[:, 0] > edge).all() or (view[:, 0] < -edge).all():
            return
        depth = max(1.0, float(np.maximum(view[:2, 2], 0).mean()))
        # Only one end can be seen, and only from beyond it.
        for end, facing in ((house.z0, -1.0), (house.z1, 1.0)):
            if (z - end) * facing > 0:
                color = light.shade(scaled(house.wall, 0.92), depth, (0, 0, facing))
                wall_end: list[Vector] = [(front, 0, end), (front, top, end), (back, top, end), (back, 0, end)]
                if house.gable:
                    wall_end.insert(2, (ridge, peak, end))
                self._face(wall_end, color, Surface.BUILDING)
        if house.gable:
            over = front - sign * 0.35
            slope = math.hypot(house.depth / 2, house.gable)
            normal = (-sign * house.gable / slope, house.depth / 2 / slope, 0.0)
            self._face(
                [(over, top - 0.15, house.z0 - 0.3), (over, top - 0.15, house.z1 + 0.3),
                 (ridge, peak, house.z1 + 0.3), (ridge, peak, house.z0 - 0.3)],
                light.shade(house.roof, depth, normal), Surface.BUILDING,
            )  # fmt: skip
        turn = self._street.turn(middle)
        out = (-sign * math.cos(turn), 0.0, sign * math.sin(turn))
        if (x - front - self._street.bend(middle)) * out[0] + (z - middle) * out[2] <= 0:
            return
        left = Surface.BRICK_LEFT if house.bricks else Surface.PLASTER_LEFT
        surface = left if sign < 0 else Surface(left + 1)
        wall = light.shade(house.wall, depth, out)
        self._face(
            [(front, 0, house.z0), (front, 0, house.z1), (front, top, house.z1), (front, top, house.z0)],
            wall, surface,
        )  # fmt: skip
        cornice = light.shade(scaled(house.wall, 0.8), depth, out)
        self._quads(house, [(house.z0, house.z1, top - 0.45, top)], cornice)
        self._quads(house, [(house.z0, house.z1, 0.0, 0.5)], light.shade(scaled(house.wall, 0.7), depth))
        self._windows(house, depth)

    def _windows(self, house: House, depth: float) -> None:
        light, dice = self._light, Dice(house.lit)
        width, height = house.window
        columns = max(1, int((house.z1 - house.z0 - 0.8) / house.spacing))
        start = (house.z0 + house.z1 - columns * house.spacing + house.spacing - width) / 2
        rows = int(house.height / house.storey)
        first = 1 if house.shop else 0
        panes = [
            (start + i * house.spacing, start + i * house.spacing + width, bottom, bottom + height)
            for k in range(first, rows)
            for i in range(columns)
            for bottom in (k * house.storey + 0.95,)
            if bottom + height < house.height - 0.5
        ]
        door = dice.integer(0, columns - 1)
        if not house.shop:
            at = start + door * house.spacing
            panes = [pane for pane in panes if not (pane[0] == at and pane[2] < house.storey)]
        lit = [dice.chance(0.3 if light.lamps else 0.0) for _ in panes]
        glass = light.shade(scaled(mix_sky(light), 0.42), depth)
        frame = light.shade(house.frame, depth)
        if depth < 70:
            self._quads(house, [(a - 0.1, b + 0.1, low - 0.12, high + 0.1) for a, b, low, high in panes], frame)
        self._quads(house, [pane for pane, on in zip(panes, lit, strict=True) if not on], glass)
        self._quads(
            house, [pane for pane, on in zip(panes, lit, strict=True) if on], light.glow((250, 214, 140), depth)
        )
        if depth < 40:
            bars = [((a + b) / 2 - 0.04, (a + b) / 2 + 0.04, low, high) for a, b, low, high in panes]
            self._quads(house, bars, frame)
        if house.shop:
            self._shop(house, dice, depth)
        else:
            at = start + door * house.spacing
            color = dice.pick(((96, 58, 40), (58, 78, 96), (120, 40, 40), (60, 84, 60)))
            self._quads(house, [(at - 0.12, at + 1.12, 0.0, 2.3)], frame)
            self._quads(house, [(at, at + 1.0, 0.0, 2.2)], light.shade(color, depth))

    def _shop(self, house: House, dice: Dice, depth: float) -> None:
        light = self._light
        color = dice.pick(((150, 44, 44), (44, 96, 70), (40, 70, 130), (190, 140, 50), (70, 70, 74)))
        z0, z1 = house.z0 + 0.6, house.z1 - 0.6
        count = max(1, round((z1 - z0) / 3.6))
        step = (z1 - z0) / count
        panes = [(z0 + i * step + 0.15, z0 + (i + 1) * step - 0.15, 0.5, 2.5) for i in range(count)]
        glass = light.glow((240, 206, 150), depth) if light.lamps else light.shade((66, 76, 84), depth)
        self._quads(house, panes, glass)
        self._quads(house, [(z0 - 0.2, z1 + 0.2, 2.5, 3.05)], light.shade(color, depth))

    def _quads(self, house: House, spans: list[tuple[float, float, float, float]], color: Bgr) -> None:
        """Rectangles (z0, z1, y0, y1) in the front's plane; those that reach behind the camera are cut."""
        if not spans:
            return
        a, b, low, high = np.array(spans, dtype=np.float64).T
        x = np.full_like(a, house.side.sign * house.front)
        corners = [np.stack([x, y, z], axis=1) for z, y in ((a, low), (b, low), (b, high), (a, high))]
        points: Points = self._street.to_world(np.stack(corners, axis=1))
        pixels, depth = self._camera.project(points)
        seen = depth.min(axis=1) > 0.3
        inside = (pixels[..., 0].max(axis=1) > 0) & (pixels[..., 0].min(axis=1) < self._camera.width)
        self._sketch.polygons(pixels[seen & inside], color, Surface.BUILDING)
        for i in np.flatnonzero(~seen & (depth.max(axis=1) > 0.3)):
            outline = self._camera.outline(points[i])
            if outline is not None:
                self._sketch.polygon(outline, color, Surface.BUILDING)


def mix_sky(light: Light) -> Rgb:
    """What window panes reflect."""
    a, b = light.zenith, light.horizon
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2
