"""What a frame is: the array that a segmenter takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""uint8 [H, W, 3] in BGR order, as OpenCV holds it; of any size."""
