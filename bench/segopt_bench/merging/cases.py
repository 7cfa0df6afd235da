"""Frames full of detections to merge."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SHORTEST, LONGEST = 24, 600
"""Sides of the boxes, in pixels; uniform in between."""
THINGS, STUFF = 80, 12
"""Classes: things have the ids 1 to 80, stuff those behind them."""


@dataclass(frozen=True)
class Case:
    """What a network says of one frame."""

    boxes: NDArray[np.float32]
    """float32 [N, 4], x0, y0, x1, y1 in pixels, inside the frame."""
    scores: NDArray[np.float32]
    """float32 [N], descending, all above 0.5."""
    labels: NDArray[np.int64]
    """int64 [N], 1 to 80."""
    masks: NDArray[np.float32]
    """float32 [N, 28, 28]."""
    semantic: NDArray[np.uint8]
    """uint8 [H, W]: 0 is no stuff, 1 to 12 are."""
    stuff_classes: dict[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame."""
        height, width = self.semantic.shape
        return height, width


def make_case(count: int, size: tuple[int, int], *, seed: int = 0) -> Case:
    """Instances with round, uneven masks in boxes of every size, and a label map of smooth regions."""
    random = np.random.default_rng([seed, count, *size])
    height, width = size
    limit = np.minimum(LONGEST, (width - 1, height - 1))
    sides = random.uniform(SHORTEST, limit, (count, 2))
    corner = random.random((count, 2)) * ((width, height) - sides)
    masks = np.stack([_blob(random) for _ in range(count)]) if count else np.zeros((0, 28, 28))
    return Case(
        boxes=np.hstack([corner, corner + sides]).astype(np.float32),
        scores=-np.sort(-random.uniform(0.5, 1, count)).astype(np.float32),
        labels=random.integers(1, THINGS + 1, count),
        masks=masks.astype(np.float32),
        semantic=_regions(random, size),
        stuff_classes={index: THINGS + index for index in range(1, STUFF + 1)},
    )


def _blob(random: np.random.Generator) -> NDArray[np.float64]:
    y, x = (np.mgrid[0:28, 0:28] - 13.5) / 14
    angle = np.arctan2(y, x)
    waves = random.normal(0, 0.12, 3) @ np.stack([np.cos(k * angle + random.uniform(0, 6)) for k in (2, 3, 5)], 1)
    blob: NDArray[np.float64] = 1 / (1 + np.exp(12 * (np.hypot(x, y) - 0.85 - waves)))
    return blob


def _regions(random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    rough = random.random((STUFF + 1, 6, 8)).astype(np.float32)
    planes = [cv2.resize(plane, size[::-1], interpolation=cv2.INTER_CUBIC) for plane in rough]
    return np.asarray(np.argmax(planes, axis=0), dtype=np.uint8)
