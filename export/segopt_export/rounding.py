"""Rounding of numbers that a graph holds in single precision."""

from __future__ import annotations

import math

import numpy as np


def float32_floor(threshold: float) -> float:
    """The largest float32 that is not above a threshold.

    torchvision compares a float32 IoU with a double threshold; ``0.7`` lies between two float32 values, and
    rounding it up would let an IoU of exactly that value pass.
    """
    nearest = np.float32(threshold)
    if float(nearest) > threshold:
        nearest = np.nextafter(nearest, np.float32(-math.inf))
    return float(nearest)
