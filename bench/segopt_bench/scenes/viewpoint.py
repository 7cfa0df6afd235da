"""Where the camera stands, and how it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segopt_bench.scenes.camera import Camera
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.street import Street


@dataclass(frozen=True)
class Viewpoint:
    """A camera on its way along the street."""

    street: Street
    x: float
    """Street coordinates at time 0, meters; ``height`` above the ground."""
    height: float
    z: float
    yaw: float
    """Radians, relative to the street."""
    pitch: float
    roll: float
    zoom: float
    speed: float
    """Meters a second along the street."""
    sway: tuple[float, float]
    """How far it pans to either side (radians), and how fast (radians a second)."""

    def at(self, time: float, height: int, width: int) -> Camera:
        """The camera at a time in seconds, for a picture of this size in pixels."""
        z = self.z + self.speed * time
        amount, rate = self.sway
        return Camera(
            height=height,
            width=width,
            position=(self.x + self.street.bend(z), self.height + 0.015 * math.sin(3.1 * time), z),
            yaw=self.yaw + self.street.turn(z) + amount * math.sin(rate * time),
            pitch=self.pitch + 0.15 * amount * math.sin(1.7 * rate * time),
            roll=self.roll,
            zoom=self.zoom,
        )


def random_viewpoint(dice: Dice, street: Street) -> Viewpoint:
    """Along the street, across it, or anything between."""
    kind = dice.pick(("along", "oblique", "across"), (4, 3, 3))
    sign = dice.sign()
    side = street.side(sign)
    kerb = street.half_width
    room = side.pavement + (side.verge if side.kind != "water" else 0.8 * side.verge)
    if kind == "along":
        x = sign * dice.uniform(0.0, kerb + 0.7 * side.pavement)
        yaw = -sign * math.radians(dice.uniform(-6, 14))
        speed = dice.uniform(0.3, 1.3)
    else:
        x = sign * (kerb + dice.uniform(0.25, 0.9) * max(room, 1.0))
        turn = dice.uniform(16, 52) if kind == "oblique" else dice.uniform(62, 112)
        yaw = -sign * math.radians(turn)
        speed = dice.uniform(-0.5, 0.8)
    return Viewpoint(
        street=street,
        x=x,
        height=dice.uniform(1.5, 2.5) if dice.chance(0.8) else dice.uniform(2.5, 4.0),
        z=0.0,
        yaw=yaw,
        pitch=math.radians(dice.uniform(-11, 1)),
        roll=math.radians(dice.uniform(-1.2, 1.2)),
        zoom=dice.uniform(1.1, 1.5),
        speed=speed,
        sway=(math.radians(dice.uniform(1.5, 4.5)), dice.uniform(0.3, 0.6)),
    )
