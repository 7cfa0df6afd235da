"""The sky with its clouds, and what stands on the horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segopt_bench.scenes.camera import Camera
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.light import Light, mix
from segopt_bench.scenes.sketch import Sketch
from segopt_bench.scenes.street import Surface
from segopt_bench.scenes.textures import Floats, noise, sample

_DISTANCE = 2000.0


def draw_sky(camera: Camera, light: Light, drift: tuple[float, float], time: float) -> NDArray[np.uint8]:
    """The sky as if nothing stood before it.

    Args:
        camera: looks at it.
        light: its colors.
        drift: where the clouds begin, in cells.
        time: seconds; clouds move.

    Returns:
        uint8 [H, W, 3], BGR; below the horizon the horizon's color.
    """
    x, y, z = camera.rays
    horizon = np.array(light.horizon[::-1], dtype=np.float32)
    zenith = np.array(light.zenith[::-1], dtype=np.float32)
    sky = np.empty((*y.shape, 3), dtype=np.float32)
    sky[:] = horizon
    rows = np.flatnonzero((y > 0.01).any(axis=1))
    if len(rows):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        up = np.maximum(y[part], np.float32(0.004))
        rise = 1 - np.exp(-up * np.float32(2.6))
        sky[part] += (zenith - horizon) * rise[..., None]
        sun = np.maximum(0, (x[part] * light.sun[0] + up * light.sun[1] + z[part] * light.sun[2]))
        sun /= np.sqrt(x[part] ** 2 + up**2 + z[part] ** 2)
        glow = np.array((light.direct[2], light.direct[1], light.direct[0]), dtype=np.float32) * 110
        sky[part] += (sun**12)[..., None] * glow
        sky[part] = _clouds(sky[part], (x[part], up, z[part]), light, drift, time)
    return np.clip(sky, 0, 255).astype(np.uint8)


def _clouds(
    sky: Floats, ray: tuple[Floats, Floats, Floats], light: Light, drift: tuple[float, float], time: float
) -> Floats:
    x, up, z = ray
    # A dome, not a plane: a plane's clouds are crushed to lines above the horizon.
    away = 1 / (up + np.float32(0.12))
    u = x * away * 60 + np.float32(drift[0] + 0.6 * time)
    v = z * away * 60 + np.float32(drift[1])
    puff = sample(noise(1.7, 4), u * 0.6, v * 0.6) + np.float32(0.35) * sample(noise(1.2, 5), u * 1.7, v * 1.7)
    cover = np.float32(light.clouds)
    amount = np.clip((puff + (cover - np.float32(0.5)) * 3.2) * np.float32(1.3), 0, 1)
    amount *= np.clip(up * 9, 0, 1) * np.float32(0.85 if light.clouds < 1 else 0.5)
    base = mix(light.horizon, (252, 252, 252), 0.55 if light.clouds < 1 else 0.0)
    white = np.array(base[::-1], dtype=np.float32) * (1 - np.float32(0.09) * np.clip(puff, 0, 2))[..., None]
    result: Floats = sky + (white - sky) * amount[..., None]
    return result


@dataclass(frozen=True)
class Horizon:
    """Woods, hills and towers far away, all around."""

    woods: tuple[float, ...]
    """Height of the woods as an elevation (tangent), for equal steps of the compass."""
    towers: tuple[tuple[float, float, float], ...]
    """Direction (radians), half width (radians) and elevation (tangent) of far buildings."""

    def draw(self, camera: Camera, light: Light, sketch: Sketch) -> None:
        """Draw them into a backdrop."""
        turns = np.linspace(-1.2, 1.2, 161) + camera.yaw
        step = 2 * math.pi / len(self.woods)
        heights = np.interp(turns / step, np.arange(-len(self.woods), 2 * len(self.woods)), self.woods * 3)
        for direction, half, rise in self.towers:
            off = (direction - camera.yaw + math.pi) % (2 * math.pi) - math.pi
            if abs(off) < 1.1:
                color = light.shade((118, 116, 122), 0.45 * light.visibility)
                edges = camera.yaw + off + np.array([-half, half, half, -half])
                self._fill(camera, sketch, edges, np.array([rise, rise, -0.01, -0.01]), color, Surface.BUILDING)
        color = light.shade((74, 104, 62), 0.4 * light.visibility)
        around = np.concatenate((turns, turns[::-1]))
        self._fill(camera, sketch, around, np.concatenate((heights, 0 * heights - 0.01)), color, Surface.TREELINE)

    def _fill(
        self,
        camera: Camera,
        sketch: Sketch,
        turns: NDArray[np.float64],
        rise: NDArray[np.float64],
        color: tuple[int, int, int],
        surface: Surface,
    ) -> None:
        x, y, z = camera.position
        points = np.stack(
            [x + _DISTANCE * np.sin(turns), y + _DISTANCE * rise, z + _DISTANCE * np.cos(turns)], axis=1
        )
        outline = camera.outline(points)
        if outline is not None:
            sketch.polygon(outline, color, surface)


def random_horizon(dice: Dice) -> Horizon:
    """A horizon for a scene."""
    count = 360
    base, hills = dice.uniform(0.02, 0.06), dice.uniform(0.0, 0.035)
    waves = [(dice.integer(2, 9), dice.uniform(0, 7), dice.uniform(0.3, 1)) for _ in range(4)]
    woods = []
    for i in range(count):
        turn = 2 * math.pi * i / count
        hill = sum(weight * math.sin(rate * turn + phase) for rate, phase, weight in waves)
        woods.append(max(0.012, base + hills * hill / 2 + dice.uniform(-0.006, 0.006)))
    towers = []
    if dice.chance(0.5):
        for _ in range(dice.integer(8, 30)):
            half = dice.uniform(0.012, 0.035)
            towers.append((dice.uniform(0, 2 * math.pi), half, dice.uniform(0.05, 0.15)))
    return Horizon(tuple(woods), tuple(towers))
