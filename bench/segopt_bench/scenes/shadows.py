"""Shadows on the ground: those that the sun casts, and the darkness under everything that stands."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt_bench.scenes.actor import Actor, Brush, View
from segopt_bench.scenes.camera import Points
from segopt_bench.scenes.houses import House
from segopt_bench.scenes.textures import Floats

_CONTACT = 0.5


class Shadows:
    """How much light is left on the ground."""

    def __init__(self, view: View) -> None:
        self._view = view
        size = view.camera.height, view.camera.width
        self._cast = np.zeros(size, dtype=np.uint8)
        self._contact = np.zeros(size, dtype=np.uint8)

    def add_houses(self, houses: Iterable[House]) -> None:
        """Shadows of houses."""
        if self._view.light.shadow == 0:
            return
        for house in houses:
            sign = house.side.sign
            front, back = sign * house.front, sign * (house.front + house.depth)
            corners = [(x, y, z) for x in (front, back) for y in (0.0, house.height) for z in (house.z0, house.z1)]
            self._fall(self._view.street.to_world(np.array(corners)))

    def add(self, actor: Actor, *, stands: bool = True) -> None:
        """Shadows of something; ``stands`` tells that it touches the ground over its whole size."""
        brush = Brush(self._view, actor.path)
        if not brush.visible or brush.depth > 70:
            return
        solid = actor.solid() + np.array([0.0, actor.lift(self._view.time), 0.0])
        world = brush.world(solid)
        if self._view.light.shadow:
            self._fall(world)
        if stands:
            length, _, width = actor.size
            turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            foot = np.stack([0.55 * length * np.cos(turns), 0 * turns, 0.62 * width * np.sin(turns)], axis=1)
            self._fill(self._contact, brush.world(foot))

    def light(self) -> Floats:
        """Factor of the light that reaches the ground, float32 [H, W]."""
        height = self._view.camera.height
        left = np.ones(self._cast.shape, dtype=np.float32)
        for mask, strength, sigma in (
            (self._cast, self._view.light.shadow, height / 320),
            (self._contact, _CONTACT, height / 110),
        ):
            if strength and mask.any():
                soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), dtype=np.float32)
                left *= 1 - soft * np.float32(strength / 255)
        return left

    def _fall(self, world: Points) -> None:
        sun = self._view.light.sun
        length = np.minimum(world[:, 1] / sun[1], 60.0)
        flat = np.stack([world[:, 0] - sun[0] * length, world[:, 2] - sun[2] * length], axis=1)
        hull = np.asarray(cv2.convexHull(flat.astype(np.float32)), dtype=np.float64).reshape(-1, 2)
        self._fill(self._cast, np.stack([hull[:, 0], 0 * hull[:, 0], hull[:, 1]], axis=1))

    def _fill(self, mask: NDArray[np.uint8], ground: Points) -> None:
        outline = self._view.camera.outline(ground)
        if outline is not None and len(outline) >= 3:
            corners = np.rint((outline - 0.5).clip(-8e6, 8e6) * 16).astype(np.int32)
            cv2.fillPoly(mask, [corners], 255, lineType=cv2.LINE_AA, shift=4)
