"""Time of day and weather: what color a surface has in the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segopt_bench.scenes.camera import Vector
from segopt_bench.scenes.dice import Dice

Rgb = tuple[float, float, float]
"""Red, green, blue, 0 to 255; light that falls on something is a factor about 1."""
Bgr = tuple[int, int, int]


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """``a`` with this share of ``b``."""
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share


def scaled(color: Rgb, factor: float) -> Rgb:
    """A lighter or darker color."""
    return color[0] * factor, color[1] * factor, color[2] * factor


@dataclass(frozen=True)
class Light:
    """Sun, sky and air."""

    name: str
    sun: Vector
    """Unit vector towards the sun."""
    direct: Rgb
    """Light of the sun."""
    ambient: Rgb
    """Light of the sky."""
    zenith: Rgb
    horizon: Rgb
    """Colors of the sky; the air between takes on the horizon's."""
    clouds: float
    """Share of the sky, 0 to 1."""
    visibility: float
    """Meters after which two thirds of a color are lost in haze."""
    shadow: float
    """How dark a cast shadow is, 0 to 1."""
    lamps: bool
    """Whether windows and headlights shine."""

    def haze(self, depth: float) -> float:
        """Share of haze at a depth in meters."""
        return 1 - math.exp(-max(0.0, depth) / self.visibility)

    def shade(self, color: Rgb, depth: float, normal: Vector | None = None) -> Bgr:
        """Color in the picture.

        Args:
            color: of the surface itself.
            depth: meters from the camera.
            normal: unit vector out of the surface, in the world; None for what is round.
        """
        lit = 0.55
        if normal is not None:
            lit = max(0.0, sum(a * b for a, b in zip(normal, self.sun, strict=True)))
        haze = self.haze(depth)
        red, green, blue = (
            min(255, max(0, round(c * (s + d * lit) * (1 - haze) + h * haze)))
            for c, s, d, h in zip(color, self.ambient, self.direct, self.horizon, strict=True)
        )
        return blue, green, red

    def glow(self, color: Rgb, depth: float) -> Bgr:
        """Color in the picture of something that shines."""
        haze = 0.6 * self.haze(depth)
        red, green, blue = (
            min(255, max(0, round(c * (1 - haze) + h * haze))) for c, h in zip(color, self.horizon, strict=True)
        )
        return blue, green, red


def random_light(dice: Dice) -> Light:
    """Day, haze, overcast, late sun or dusk."""
    name = dice.pick(("day", "overcast", "golden", "mist", "dusk"), (5, 2.5, 2, 1, 1.2))
    azimuth = dice.uniform(0, 2 * math.pi)
    elevation = math.radians(dice.uniform(12, 24) if name == "golden" else dice.uniform(28, 65))
    sun = (
        math.sin(azimuth) * math.cos(elevation),
        math.sin(elevation),
        math.cos(azimuth) * math.cos(elevation),
    )
    gain = dice.uniform(0.85, 1.12)
    direct, ambient, zenith, horizon = _LIGHTS[name]
    white = dice.uniform(-0.06, 0.06)
    tint = (1 + white, 1.0, 1 - white)
    return Light(
        name=name,
        sun=sun,
        direct=_product(scaled(direct, gain), tint),
        ambient=_product(scaled(ambient, gain), tint),
        zenith=mix(zenith, (90, 140, 200), dice.uniform(0, 0.25) if name == "day" else 0.0),
        horizon=_product(horizon, tint),
        clouds=dice.uniform(0.05, 0.65) if name in ("day", "golden", "dusk") else 1.0,
        visibility={"mist": dice.uniform(45, 90), "overcast": dice.uniform(150, 300)}.get(
            name, dice.uniform(200, 600)
        ),
        shadow={"day": 0.5, "golden": 0.42, "dusk": 0.1}.get(name, 0.0),
        lamps=name == "dusk" or (name == "mist" and dice.chance(0.4)),
    )


_LIGHTS: dict[str, tuple[Rgb, Rgb, Rgb, Rgb]] = {
    "day": ((0.62, 0.60, 0.54), (0.52, 0.55, 0.60), (64, 122, 205), (190, 212, 235)),
    "overcast": ((0.12, 0.12, 0.12), (0.72, 0.74, 0.77), (150, 158, 170), (205, 209, 214)),
    "golden": ((0.74, 0.55, 0.34), (0.44, 0.43, 0.50), (96, 132, 190), (250, 205, 150)),
    "mist": ((0.16, 0.16, 0.15), (0.72, 0.73, 0.75), (186, 192, 198), (208, 212, 214)),
    "dusk": ((0.20, 0.14, 0.12), (0.50, 0.51, 0.64), (42, 54, 104), (205, 140, 128)),
}
"""Sun, sky light, zenith and horizon."""


def _product(a: Rgb, b: Rgb) -> Rgb:
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]
