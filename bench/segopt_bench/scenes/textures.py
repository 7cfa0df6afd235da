"""Tiles of noise, made once, and how they are laid over surfaces."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TILE = 512
"""Side of a tile in cells."""


@cache
def noise(roughness: float, seed: int = 0) -> Floats:
    """Noise that repeats without a seam, float32 [TILE, TILE], mean 0, deviation 1, within -3 and 3.

    Args:
        roughness: 0 is white, 2 is clouds.
        seed: of the tile.
    """
    # MT19937's legacy stream is frozen; a Generator's may change with NumPy.
    white = np.random.RandomState(seed).standard_normal((TILE, TILE))
    frequency = np.fft.fftfreq(TILE)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    radius[0, 0] = 1.0
    smooth = np.fft.ifft2(np.fft.fft2(white) * radius**-roughness).real
    smooth = (smooth - smooth.mean()) / smooth.std()
    # Rounded, so that the last bits of the FFT, which differ between machines, are gone.
    tile: Floats = (np.rint(smooth.clip(-3, 3) * 1024) / 1024).astype(np.float32)
    return tile


@cache
def bricks() -> Floats:
    """A wall of bricks of 32x16 cells with joints, float32 [TILE, TILE], about 1."""
    rows, columns = np.mgrid[0:TILE, 0:TILE]
    course = rows // 16
    shifted = (columns + 16 * (course % 2)) % TILE
    shade = np.random.RandomState(7).uniform(-1, 1, (TILE // 16, TILE // 32))[course, shifted // 32]
    joint = (rows % 16 < 2) | (shifted % 32 < 2)
    return np.where(joint, 1.18, 0.97 + 0.1 * shade).astype(np.float32)


def sample(tile: Floats, x: Floats, y: Floats) -> Floats:
    """The tile's cells at coordinates in cells; it repeats for ever. All arrays of one shape, as the result."""
    # Nearest cell: five times as fast as cv2.remap with wrapping, and noise has no edges to smooth.
    columns = x.astype(np.int32) & (TILE - 1)
    rows = y.astype(np.int32) & (TILE - 1)
    cells: Floats = tile[rows, columns]
    return cells


def smooth_sample(tile: Floats, x: Floats, y: Floats) -> Floats:
    """As :func:`sample`, blending neighbors, for cells that are larger than pixels; up to 32000 cells."""
    blended = cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(blended, dtype=np.float32)
