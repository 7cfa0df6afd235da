"""What moves or stands in a scene, and the tools it draws itself with."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from segopt_bench.scenes.camera import NEAR, Camera, Points, Vector
from segopt_bench.scenes.light import Bgr, Light, Rgb
from segopt_bench.scenes.sketch import Sketch
from segopt_bench.scenes.street import Street

_ROUND = np.linspace(0, 2 * np.pi, 22, endpoint=False)
_CIRCLE = np.stack([np.cos(_ROUND), np.sin(_ROUND), 0 * _ROUND], axis=1)


@dataclass(frozen=True)
class Path:
    """A straight way at constant speed, in street coordinates."""

    x: float
    z: float
    heading: float
    """Radians; 0 is along z, positive turns to x."""
    speed: float = 0.0
    """Meters a second."""
    since: float = 0.0
    """Time in seconds at which (x, z) is reached."""

    def at(self, time: float) -> tuple[float, float]:
        """Street x and z."""
        way = self.speed * (time - self.since)
        return self.x + way * math.sin(self.heading), self.z + way * math.cos(self.heading)


@dataclass(frozen=True)
class View:
    """What an actor must know to draw itself."""

    camera: Camera
    light: Light
    street: Street
    time: float
    """Seconds."""


class Brush:
    """Draws in an actor's own space: x ahead, y up, z to its right, meters, the origin on the ground.

    Args:
        view: what it is seen through.
        path: where the actor is.
    """

    def __init__(self, view: View, path: Path) -> None:
        self._camera, self._light = view.camera, view.light
        x, z = path.at(view.time)
        heading = path.heading + view.street.turn(z)
        self.origin = (x + view.street.bend(z), 0.0, z)
        self._sin, self._cos = math.sin(heading), math.cos(heading)
        self.depth = float(view.camera.to_view(np.array(self.origin))[2])
        self.sketch = Sketch()
        self.sketch.depth = self.depth

    @property
    def visible(self) -> bool:
        """Whether the origin is in front of the camera at all."""
        return self.depth > NEAR

    @property
    def lamps(self) -> bool:
        """Whether lamps are lit."""
        return self._light.lamps

    @cached_property
    def eye(self) -> Vector:
        """The camera's place in the actor's space."""
        x, y, z = (self._camera.position[i] - self.origin[i] for i in range(3))
        return x * self._sin + z * self._cos, y, x * self._cos - z * self._sin

    def world(self, points: Points) -> Points:
        """Actor's space float64 [..., 3] -> world."""
        ahead, up, right = points[..., 0], points[..., 1], points[..., 2]
        world = np.empty(points.shape)
        world[..., 0] = self.origin[0] + ahead * self._sin + right * self._cos
        world[..., 1] = self.origin[1] + up
        world[..., 2] = self.origin[2] + ahead * self._cos - right * self._sin
        return world

    def tone(self, color: Rgb, normal: Vector | None = None) -> Bgr:
        """The color in the picture; the normal is in the actor's space."""
        if normal is not None:
            ahead, up, right = normal
            normal = (ahead * self._sin + right * self._cos, up, ahead * self._cos - right * self._sin)
        return self._light.shade(color, self.depth, normal)

    def glow(self, color: Rgb) -> Bgr:
        """The color in the picture of a lamp: shining where lamps are lit."""
        return self._light.glow(color, self.depth) if self._light.lamps else self.tone(color, (0, 1, 0))

    def face(self, points: Sequence[Vector] | Points, color: Bgr) -> None:
        """Fill a flat shape."""
        outline = self._camera.outline(self.world(np.asarray(points, dtype=np.float64)))
        if outline is not None:
            self.sketch.polygon(outline, color)

    def faces(self, points: Points, color: Bgr) -> None:
        """Fill flat shapes that do not overlap in the picture, [K, N, 3]; those near the camera are left out."""
        pixels, depth = self._camera.project(self.world(points))
        self.sketch.polygons(pixels[depth.min(axis=1) > NEAR], color)

    def pixels(self, points: Sequence[Vector] | Points) -> tuple[Points, float]:
        """Pixels [N, 2] of points, and pixels to a meter at the actor."""
        pixels, depth = self._camera.project(self.world(np.asarray(points, dtype=np.float64)))
        return pixels, self._camera.focal / max(NEAR, float(depth.mean()))

    def limbs(self, parts: Sequence[tuple[Vector, Vector, float, float, Bgr]]) -> None:
        """Round bars: both ends, the radius at each (meters), and a color that is the picture's already."""
        ends = np.array([part[:2] for part in parts], dtype=np.float64)
        pixels, scale = self.pixels(ends.reshape(-1, 3))
        for i, (_, _, radius_a, radius_b, color) in enumerate(parts):
            self.sketch.limb(pixels[2 * i], pixels[2 * i + 1], radius_a * scale, radius_b * scale, color)

    def ball(self, center: Vector, radius: float, color: Bgr) -> None:
        """A sphere of one color."""
        pixels, scale = self.pixels([center])
        self.sketch.disc(pixels[0], radius * scale, color)

    def wheel(self, center: Vector, radius: float, color: Bgr, opacity: int = 255) -> None:
        """A disc in the plane of motion; opacity 0 to 255, and from 128 on it is the object's own."""
        points = ring(center, radius)
        if opacity < 255:
            color = (color[0] * opacity // 255, color[1] * opacity // 255, color[2] * opacity // 255)
        outline = self._camera.outline(self.world(points))
        if outline is not None:
            self.sketch.polygon(outline, color, opacity)


def ring(center: Vector, radius: float) -> Points:
    """A circle in the plane of motion, float64 [22, 3]."""
    points: Points = np.array(center) + radius * _CIRCLE
    return points


class Actor(ABC):
    """Something with a shape, a place and a way."""

    category_id: ClassVar[int]

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def size(self) -> Vector:
        """Length, height and width of the box around it, meters."""

    @abstractmethod
    def draw(self, brush: Brush, view: View) -> None:
        """Draw it."""

    def sketch(self, view: View) -> Sketch | None:
        """Its drawing at a time; None when it is behind the camera."""
        brush = Brush(view, self.path)
        if not brush.visible:
            return None
        self.draw(brush, view)
        return brush.sketch

    def lift(self, time: float) -> float:
        """Height above the ground, meters."""
        del time
        return 0.0

    def solid(self) -> Points:
        """Points in its own space whose hull throws its shadow."""
        length, height, width = self.size
        return np.array(
            [(s * length / 2, y, d * width / 2) for s in (-1, 1) for y in (0.0, height) for d in (-1, 1)]
        )
