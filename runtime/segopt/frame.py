"""What a frame is: the picture that a segmenter takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""BGR picture, uint8 [H, W, 3], as OpenCV holds it."""
