"""Vector drawings and how they become pixels: anti-aliased for the picture, exact for the ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt_bench.scenes.camera import Points
from segopt_bench.scenes.light import Bgr
from segopt_bench.scenes.textures import TILE, Floats, noise

SAMPLES = 3
"""Samples along each side of a pixel. Odd, so that one of them is the pixel's center."""

_SHIFT = 4
_FARTHEST = 8e6
_TURN = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)
_SMALL_CIRCLE = _CIRCLE[::2]
_HALF_TURN = np.linspace(-np.pi / 2, np.pi / 2, 7)
_HALF_CIRCLE = np.stack([np.cos(_HALF_TURN), np.sin(_HALF_TURN)], axis=1)
_HALF_CIRCLE_TURNED = np.stack([-np.sin(_HALF_TURN), np.cos(_HALF_TURN)], axis=1)


@dataclass(frozen=True)
class Layer:
    """A drawing as pixels, inside one window of the frame."""

    x: int
    y: int
    color: NDArray[np.float32]
    """float32 [h, w, 3], BGR 0 to 255, premultiplied."""
    cover: NDArray[np.float32]
    """float32 [h, w, 1], 0 to 1: share of the pixel that the drawing hides."""
    mask: NDArray[np.bool_]
    """bool [h, w]: whether the drawing is what is seen at the pixel's center."""

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns in the frame."""
        height, width = self.mask.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


class Sketch:
    """Polygons in painter's order. Coordinates are pixels, (0, 0) being the frame's top left corner."""

    def __init__(self) -> None:
        self._polygons: list[Points] = []
        self._colors: list[tuple[int, int, int, int]] = []
        self._corners: list[int] = []
        self.depth = 0.0
        """Meters from the camera, for the painter's order of whole drawings."""
        self.grain: tuple[float, float] | None = None
        """Texture: contrast, and pixels to a grain."""
        self.anchor = (0.0, 0.0)
        """The point that the texture moves with, in pixels."""

    def polygon(self, points: Points, color: Bgr, code: int = 255) -> None:
        """Fill a polygon, float64 [N, 2].

        Args:
            points: its corners.
            color: BGR, multiplied by the opacity.
            code: opacity, 0 to 255 (what is 128 or more is the object's own); for a backdrop, the surface.
        """
        if len(points) >= 3:
            self._polygons.append(points)
            self._colors.append((*color, code))
            self._corners.append(len(points))

    def polygons(self, points: Points, color: Bgr, code: int = 255) -> None:
        """Fill polygons that do not overlap and have equally many corners, float64 [K, N, 2], in one go."""
        if len(points):
            self._polygons.append(points.reshape(-1, 2))
            self._colors.append((*color, code))
            self._corners.append(points.shape[1])

    def disc(self, center: Points, radius: float, color: Bgr, code: int = 255) -> None:
        """Fill a disc."""
        self.polygon(center + (_CIRCLE if radius > 6 else _SMALL_CIRCLE) * radius, color, code)

    def discs(self, centers: Points, radii: Points, color: Bgr) -> None:
        """Fill discs, one over the other: float64 [K, 2] and [K]."""
        outlines = centers[:, None] + _CIRCLE * radii[:, None, None]
        for outline in outlines:
            self.polygon(outline, color)

    def limb(self, a: Points, b: Points, radius_a: float, radius_b: float, color: Bgr) -> None:
        """Fill the shape around two discs."""
        x, y = float(b[0] - a[0]), float(b[1] - a[1])
        length = math.hypot(x, y)
        if length < 1e-6:
            self.disc(a, max(radius_a, radius_b), color)
            return
        cos, sin = x / length, y / length
        forward = _HALF_CIRCLE * cos + _HALF_CIRCLE_TURNED * sin
        self.polygon(np.concatenate((b + forward * radius_b, a - forward * radius_a)), color)

    def layer(self, height: int, width: int) -> Layer | None:
        """The drawing as pixels of a frame of this size; None when it lies outside."""
        if not self._polygons:
            return None
        points = np.concatenate(self._polygons)
        x0, y0 = (max(0, int(side)) for side in np.floor(np.clip(points.min(axis=0), -1, 1e6)))
        x1 = min(width, int(np.ceil(np.clip(points[:, 0].max(), -1, 1e6))))
        y1 = min(height, int(np.ceil(np.clip(points[:, 1].max(), -1, 1e6))))
        if x1 <= x0 or y1 <= y0:
            return None
        samples = np.zeros(((y1 - y0) * SAMPLES, (x1 - x0) * SAMPLES, 4), dtype=np.uint8)
        self.paint(samples, x0, y0)
        color, code = reduce_samples(samples)
        cover = code.astype(np.float32) * np.float32(1 / 255)
        shaded = color.astype(np.float32) * self._relief(x0, y0, x1, y1)[..., None]
        return Layer(x0, y0, shaded, cover[..., None], centers(samples) >= 128)

    def _relief(self, x0: int, y0: int, x1: int, y1: int) -> Floats:
        """Factor of the light inside a window, float32 [h, w] or [h, 1]: less below, and the texture."""
        ramp = np.linspace(1.06, 0.9, y1 - y0, dtype=np.float32)[:, None]
        if self.grain is None:
            return ramp
        contrast, cell = self.grain
        # From the anchor to the window's corner, as whole cells and the rest.
        x, y = (x0 - self.anchor[0]) / cell, (y0 - self.anchor[1]) / cell
        columns = np.arange(math.floor(x), math.floor(x + (x1 - x0) / cell) + 3) & (TILE - 1)
        rows = np.arange(math.floor(y), math.floor(y + (y1 - y0) / cell) + 3) & (TILE - 1)
        shift = np.array([[1 / cell, 0, x % 1], [0, 1 / cell, y % 1]])
        cells = noise(0.7, 6)[np.ix_(rows, columns)]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        grains = np.asarray(cv2.warpAffine(cells, shift, (x1 - x0, y1 - y0), flags=flags), dtype=np.float32)
        relief: Floats = ramp * (1 + np.float32(contrast) * grains)
        return relief

    def paint(self, samples: NDArray[np.uint8], x: int = 0, y: int = 0) -> None:
        """Fill the polygons into samples, uint8 [SAMPLES * h, SAMPLES * w, 4], whose first pixel is (x, y)."""
        if not self._polygons:
            return
        points = np.concatenate(self._polygons)
        scaled = ((points - (x, y)) * SAMPLES - 0.5).clip(-_FARTHEST, _FARTHEST) * (1 << _SHIFT)
        corners = np.rint(scaled).astype(np.int32)
        start = 0
        for polygon, color, count in zip(self._polygons, self._colors, self._corners, strict=True):
            stop = start + len(polygon)
            pieces = corners[start:stop].reshape(-1, count, 2)
            cv2.fillPoly(samples, list(pieces), color, shift=_SHIFT)
            start = stop


def reduce_samples(samples: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mean of each pixel's samples: color uint8 [h, w, 3] and code uint8 [h, w]."""
    height, width = samples.shape[0] // SAMPLES, samples.shape[1] // SAMPLES
    mean = np.asarray(cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    mean = mean.reshape(height, width, 4)
    return mean[..., :3], mean[..., 3]


def centers(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Code at the center of each pixel, uint8 [h, w]."""
    middle = SAMPLES // 2
    return samples[middle::SAMPLES, middle::SAMPLES, 3]
