"""What a frame is: the array that a segmenter takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""uint8 [H, W, 3] in BGR order, as OpenCV holds it; of any size."""


def check_frame(frame: object) -> None:
    """Refuse what is no frame.

    Raises:
        ValueError: says what it is and, where it is known, what to pass in its place.
    """
    if not isinstance(frame, np.ndarray):
        raise ValueError(f"{_WANTED}; this is {type(frame).__name__}")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"{_WANTED}; this is {frame.dtype} {frame.shape}{_advice(frame)}")


_WANTED = "a frame is uint8 [h, w, 3] in BGR order, as cv2.imread gives it"


def _advice(array: np.ndarray) -> str:
    """What to pass in place of an array that is no frame."""
    channels = array.shape[2] if array.ndim == 3 else 0
    if array.ndim == 3 and channels not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        return "; channels come last and blue first: for RGB [3, h, w] pass array.transpose(1, 2, 0)[..., ::-1]"
    if array.ndim == 4:
        return "; pass a batch as uint8 [B, h, w, 3]" if array.shape[3] != 3 else "; pass a list of its frames"
    if array.dtype.kind == "f":
        return "; for values of 0 to 1 pass (array * 255).round().astype(np.uint8)"
    if array.dtype == np.uint16:
        return "; for 16 bits pass (array >> 8).astype(np.uint8)"
    if array.dtype == np.uint8 and (array.ndim == 2 or channels == 1):
        return "; for gray pass cv2.cvtColor(array, cv2.COLOR_GRAY2BGR)"
    if array.dtype == np.uint8 and channels == 4:
        return "; for BGRA pass array[..., :3], for RGBA pass array[..., 2::-1]"
    return ""
