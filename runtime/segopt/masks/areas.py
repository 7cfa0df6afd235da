"""Counting pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def code_areas(codes: NDArray[np.unsignedinteger], count: int) -> NDArray[np.int64]:
    """int64 [count]: number of pixels of each code."""
    areas = np.zeros(count, dtype=np.int64)
    if codes.size == 0:
        return areas
    # OpenCV counts ten times as fast as np.bincount but in float32, which is exact up to 2**24 pixels.
    rows = max(1, 2**24 // codes.shape[1])
    for top in range(0, codes.shape[0], rows):
        counts = cv2.calcHist([codes[top : top + rows]], [0], None, [count], [0, count])
        areas += counts.ravel().astype(np.int64)
    return areas
