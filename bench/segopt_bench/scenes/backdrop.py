"""Everything that is not an object: sky, horizon, ground and houses, with their textures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt_bench.scenes.camera import Camera
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.houses import Builder, House, mix_sky, random_houses
from segopt_bench.scenes.light import Light, Rgb, mix, scaled
from segopt_bench.scenes.sketch import SAMPLES, Sketch, centers, reduce_samples
from segopt_bench.scenes.sky import Horizon, draw_sky, random_horizon
from segopt_bench.scenes.street import FAR, NEAR_END, Street, Surface, strip
from segopt_bench.scenes.textures import Floats, bricks, noise, sample, smooth_sample

_LOOK: dict[Surface, tuple[float, float, float, float]] = {
    Surface.ROAD: (0.05, 0.5, 0.09, 24.0),
    Surface.MARKING: (0.08, 0.5, 0.06, 24.0),
    Surface.PAVEMENT: (0.05, 0.8, 0.05, 24.0),
    Surface.GRASS: (0.13, 0.9, 0.17, 36.0),
}
"""Contrast and cells a meter, of patches and of grains."""


@dataclass(frozen=True)
class Backdrop:
    """The stuff of a scene that has no thickness: seen first, everything else stands in front of it."""

    street: Street
    houses: tuple[House, ...]
    horizon: Horizon
    pond: tuple[float, float, float, float] | None
    """Street x and z of the middle, and the two radii, meters."""
    drift: tuple[float, float]
    """Where the textures begin, in cells."""

    def render(self, camera: Camera, light: Light, time: float) -> tuple[Floats, NDArray[np.uint8]]:
        """Draw.

        Returns:
            The picture, float32 [H, W, 3], BGR 0 to 255, and the :class:`Surface` at each pixel's center, uint8
            [H, W].
        """
        height, width = camera.height, camera.width
        x, y, z = camera.rays
        sky = np.zeros((height, width, 4), dtype=np.uint8)
        sky[..., :3] = draw_sky(camera, light, self.drift, time)
        samples = np.asarray(
            cv2.resize(sky, (width * SAMPLES, height * SAMPLES), interpolation=cv2.INTER_NEAREST), dtype=np.uint8
        )
        sketch = Sketch()
        self.horizon.draw(camera, light, sketch)
        self._ground(camera, light, sketch)
        Builder(self.street, camera, light, sketch).draw(list(self.houses))
        sketch.paint(samples)
        color, _ = reduce_samples(samples)
        surfaces = np.ascontiguousarray(centers(samples))
        depth = np.float32(camera.position[1]) / np.maximum(-y, np.float32(1e-5))
        picture = color.astype(np.float32)
        self._texture_ground(picture, surfaces, camera, light, (x, z, depth), time)
        self._texture_walls(picture, surfaces, camera)
        return picture, surfaces

    def _ground(self, camera: Camera, light: Light, sketch: Sketch) -> None:
        street = self.street
        base = camera.outline(_plain(camera))
        up = (0.0, 1.0, 0.0)
        colors: dict[Surface, Rgb] = {
            Surface.ROAD: street.asphalt,
            Surface.PAVEMENT: street.paving,
            Surface.GRASS: street.grass,
            Surface.MARKING: (226, 224, 216),
        }
        tones = {surface: light.shade(color, 0.0, up) for surface, color in colors.items()}
        water = mix(mix_sky(light), (52, 84, 92), 0.5)
        tones[Surface.WATER] = light.shade(scaled(water, 0.8), 0.0)
        if base is not None:
            sketch.polygon(base, tones[Surface.GRASS], Surface.GRASS)

        def fill(x0: float, x1: float, z0: float, z1: float, surface: Surface, pieces: int = 1) -> None:
            outline = camera.outline(street.to_world(strip(x0, x1, z0, z1, pieces=pieces)))
            if outline is not None:
                sketch.polygon(outline, tones[surface], surface)

        curved = 24 if street.curvature else 1
        for band in street.bands:
            fill(band.x0, band.x1, NEAR_END, FAR, band.surface, curved)
        if self.pond is not None:
            x, z, a, b = self.pond
            turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            wobble = 1 + 0.12 * np.sin(3 * turn + x)
            edge = np.stack([x + a * wobble * np.cos(turn), 0 * turn, z + b * wobble * np.sin(turn)], axis=1)
            outline = camera.outline(street.to_world(edge))
            if outline is not None:
                sketch.polygon(outline, tones[Surface.WATER], Surface.WATER)
        half = street.half_width
        for side in street.sides:
            if side.pavement:
                kerb = side.sign * half
                tones[Surface.PAVEMENT] = light.shade(scaled(street.paving, 1.12), 0.0, up)
                inner = kerb + side.sign * 0.2
                fill(min(kerb, inner), max(kerb, inner), NEAR_END, FAR, Surface.PAVEMENT, curved)
            elif street.markings != "none":
                edge_line = side.sign * (half - 0.25)
                fill(edge_line - 0.07, edge_line + 0.07, NEAR_END, FAR, Surface.MARKING, curved)
        if street.markings == "solid":
            for x in (-0.18, 0.18):
                fill(x - 0.06, x + 0.06, NEAR_END, FAR, Surface.MARKING, curved)
        elif street.markings == "dashed":
            for z in np.arange(-21.0, 110.0, 6.0):
                fill(-0.08, 0.08, float(z), float(z) + 2.6, Surface.MARKING)
        if street.parking:
            for sign in (-1.0, 1.0):
                x = sign * (half - 2.25)
                fill(x - 0.05, x + 0.05, NEAR_END, FAR, Surface.MARKING, curved)
        if street.crossing is not None:
            for x in np.arange(-half + 0.5, half - 0.5, 1.1):
                fill(float(x), float(x) + 0.55, street.crossing, street.crossing + 3.2, Surface.MARKING)

    def _texture_ground(
        self,
        picture: Floats,
        surfaces: NDArray[np.uint8],
        camera: Camera,
        light: Light,
        rays: tuple[Floats, Floats, Floats],
        time: float,
    ) -> None:
        ray_x, ray_z, distance = rays
        ground = (surfaces >= Surface.ROAD) & (surfaces <= Surface.WATER)
        rows = np.flatnonzero(ground.any(axis=1))
        if len(rows) == 0:
            return
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        surface, where = surfaces[part], ground[part]
        reach = np.minimum(distance[part], np.float32(800))
        x = np.float32(camera.position[0]) + ray_x[part] * reach
        z = np.float32(camera.position[2]) + ray_z[part] * reach
        # Texture finer than a pixel would only shimmer.
        pixel = reach * np.float32(1 / camera.focal)
        tables = np.zeros((4, 256), dtype=np.float32)
        for kind, look in _LOOK.items():
            tables[:, kind] = look
        patch, patch_rate, grain, grain_rate = (table[surface] for table in tables)
        gain = 1 + patch * smooth_sample(noise(1.4), x * patch_rate * 8, z * patch_rate * 8)
        fade = 1 / (1 + (pixel * 25) ** 2)
        gain += grain * fade * sample(noise(0.5, 1), x * grain_rate, z * grain_rate)
        paved = surface == Surface.PAVEMENT
        if paved.any():
            slab = np.float32(0.6)
            joint = ((x / slab) % 1 < 0.07) | ((z / slab) % 1 < 0.07)
            gain -= np.where(paved & joint, 0.16 * fade, np.float32(0))
        wet = surface == Surface.WATER
        if wet.any():
            wave = sample(noise(1.1, 2), x * 7 + np.float32(time * 6), z * 22 + np.float32(time * 9))
            gain = np.where(wet, 1 + np.float32(0.11) * wave * np.sqrt(fade), gain)
        shaded = picture[part] * gain[..., None]
        # No more than that of the woods on the horizon, or a white line would lie at their feet.
        haze = 1 - np.exp(
            -np.minimum(reach, np.float32(0.4 * light.visibility)) * np.float32(1 / light.visibility)
        )
        tone = np.array(light.horizon[::-1], dtype=np.float32)
        if wet.any():
            # Flat water far off is a mirror of the sky.
            mirror = np.where(wet, np.minimum(0.75, reach * np.float32(0.02)), np.float32(0))
            haze = np.maximum(haze, mirror)
        shaded += (tone - shaded) * haze[..., None]
        np.copyto(picture[part], shaded, where=where[..., None])

    def _texture_walls(self, picture: Floats, surfaces: NDArray[np.uint8], camera: Camera) -> None:
        x, y, z = camera.rays
        walls = (Surface.BRICK_LEFT, Surface.BRICK_RIGHT, Surface.PLASTER_LEFT, Surface.PLASTER_RIGHT)
        for side, code in zip(self.street.sides * 2, walls, strict=True):
            where = surfaces == code
            if not where.any():
                continue
            plane = side.sign * self.street.front(side) + self.street.bend(camera.position[2])
            away = (np.float32(plane) - np.float32(camera.position[0])) / np.where(np.abs(x) < 1e-4, 1e-4, x)[
                where
            ]
            along = camera.position[2] + away * z[where]
            above = camera.position[1] + away * y[where]
            gain = 1 + np.float32(0.05) * sample(noise(1.5, 3), along * 5, above * 5)
            if code <= Surface.BRICK_RIGHT:
                fade = 1 / (1 + (np.abs(away) * np.float32(25 / camera.focal)) ** 2)
                gain += (sample(bricks(), along * 64, above * 64) - 1) * fade * np.float32(0.55)
            picture[where] *= gain[:, None]


def random_backdrop(dice: Dice, street: Street) -> Backdrop:
    """Houses and horizon for a street."""
    parks = [side for side in street.sides if side.kind == "park"]
    pond = None
    if parks and dice.chance(0.45):
        side = dice.pick(parks)
        a, b = dice.uniform(3, 6), dice.uniform(5, 12)
        x = side.sign * (street.half_width + side.pavement + a * 1.2 + dice.uniform(1.5, 6))
        pond = (x, dice.uniform(6, 35), a, b)
    return Backdrop(
        street=street,
        houses=tuple(random_houses(dice, street)),
        horizon=random_horizon(dice),
        pond=pond,
        drift=(dice.uniform(0, 512), dice.uniform(0, 512)),
    )


def _plain(camera: Camera) -> NDArray[np.float64]:
    """The ground in front of the camera, to the horizon."""
    corners = []
    sin_yaw, cos_yaw = np.sin(camera.yaw), np.cos(camera.yaw)
    for across, ahead in ((-2e4, 1e4), (2e4, 1e4), (40.0, -10.0), (-40.0, -10.0)):
        x, _, z = camera.position
        corners.append([x + across * cos_yaw + ahead * sin_yaw, 0.0, z - across * sin_yaw + ahead * cos_yaw])
    return np.array(corners)
