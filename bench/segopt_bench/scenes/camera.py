"""A pinhole camera in a world of meters: x right, y up, z forward; the ground is y = 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Vector = tuple[float, float, float]

NEAR = 0.25
"""Meters in front of the camera from which on something can be seen."""


@dataclass(frozen=True)
class Camera:
    """Pose and lens. Pixel coordinates are continuous: the center of the first pixel is (0.5, 0.5)."""

    height: int
    width: int
    position: Vector
    yaw: float
    """Radians; 0 looks along z, positive turns to x."""
    pitch: float
    """Radians, positive looks up."""
    roll: float
    """Radians."""
    zoom: float
    """Focal length in picture heights."""

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.zoom * self.height

    @cached_property
    def axes(self) -> tuple[Vector, Vector, Vector]:
        """The picture's right, the picture's up and the view direction, in the world."""
        sin_yaw, cos_yaw = math.sin(self.yaw), math.cos(self.yaw)
        sin_pitch, cos_pitch = math.sin(self.pitch), math.cos(self.pitch)
        sin_roll, cos_roll = math.sin(self.roll), math.cos(self.roll)
        right = (cos_yaw, 0.0, -sin_yaw)
        up = (-sin_yaw * sin_pitch, cos_pitch, -cos_yaw * sin_pitch)
        ahead = (sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch)
        return (
            (right[0] * cos_roll + up[0] * sin_roll, up[1] * sin_roll, right[2] * cos_roll + up[2] * sin_roll),
            (up[0] * cos_roll - right[0] * sin_roll, up[1] * cos_roll, up[2] * cos_roll - right[2] * sin_roll),
            ahead,
        )

    def to_view(self, points: Points) -> Points:
        """World float64 [..., 3] -> right, up and depth in meters, float64 [..., 3]."""
        x, y, z = (points[..., i] - self.position[i] for i in range(3))
        view = np.empty(points.shape)
        for i, axis in enumerate(self.axes):
            # Written out: a matrix product may differ in its last bits between BLAS libraries.
            view[..., i] = x * axis[0] + y * axis[1] + z * axis[2]
        return view

    def from_view(self, view: Points) -> Points:
        """float64 [..., 3] in view space (depth > 0) -> pixels float64 [..., 2]."""
        scale = self.focal / view[..., 2]
        pixels = np.empty((*view.shape[:-1], 2))
        pixels[..., 0] = self.width / 2 + view[..., 0] * scale
        pixels[..., 1] = self.height / 2 - view[..., 1] * scale
        return pixels

    def project(self, points: Points) -> tuple[Points, Points]:
        """World [..., 3] -> pixels [..., 2] and depth [...]; what is nearer than NEAR is taken at NEAR."""
        view = self.to_view(points)
        depth = view[..., 2].copy()
        view[..., 2] = np.maximum(depth, NEAR)
        return self.from_view(view), depth

    def outline(self, polygon: Points) -> Points | None:
        """A polygon of the world, [N, 3], as pixels [M, 2], cut at the near plane; None when it is behind it."""
        view = self.to_view(polygon)
        inside = view[:, 2] >= NEAR
        if view[:, 2].min() >= NEAR:
            return self.from_view(view)
        if not inside.any():
            return None
        kept: list[Points] = []
        for i in range(len(view)):
            a, b = view[i - 1], view[i]
            if inside[i - 1] != inside[i]:
                kept.append(a + (b - a) * ((NEAR - a[2]) / (b[2] - a[2])))
            if inside[i]:
                kept.append(b)
        cut = np.stack(kept)
        cut[:, 2] = np.maximum(cut[:, 2], NEAR)
        return self.from_view(cut)

    def ground_point(self, u: float, depth: float) -> tuple[float, float]:
        """World x and z of the ground point at this depth (meters) and this column (share of the width)."""
        across = (u - 0.5) * self.width / self.focal * depth
        sin_yaw, cos_yaw = math.sin(self.yaw), math.cos(self.yaw)
        x, _, z = self.position
        return x + across * cos_yaw + depth * sin_yaw, z - across * sin_yaw + depth * cos_yaw

    @cached_property
    def rays(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """World direction through each pixel's center, of depth 1: x, y, z, each float32 [H, W]."""
        a = ((np.arange(self.width) + 0.5 - self.width / 2) / self.focal).astype(np.float32)[None, :]
        b = ((self.height / 2 - 0.5 - np.arange(self.height)) / self.focal).astype(np.float32)[:, None]
        right, up, ahead = self.axes
        x, y, z = (a * np.float32(right[i]) + b * np.float32(up[i]) + np.float32(ahead[i]) for i in range(3))
        return x, y, z
