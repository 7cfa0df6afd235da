"""Results as ``supervision.Detections``, for its annotators, trackers and zones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.errors import SegoptError
from segopt.masks.crop import BoolImage


def detections(
    boxes: NDArray[np.float32],
    masks: BoolImage,
    scores: NDArray[np.float32] | None,
    labels: NDArray[np.integer],
    names: Sequence[str],
    tracks: NDArray[np.integer] | None = None,
) -> Any:
    """Objects or regions of one frame as one ``supervision.Detections``.

    Args:
        boxes: float32 [N, 4]: x0, y0, x1, y1 in frame pixels.
        masks: bool [N, H, W].
        scores: float32 [N], or None.
        labels: int [N], category ids.
        names: N names of categories.
        tracks: int [N], numbers of the objects in the whole video, or None.

    Raises:
        SegoptError: supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise SegoptError(
            # Before 0.30 supervision brings opencv-python, which overwrites opencv-python-headless.
            f"to_supervision() needs supervision ({error}): pip install 'supervision>=0.30'"
        ) from None
    return supervision.Detections(
        xyxy=boxes,
        mask=masks,
        confidence=scores,
        class_id=labels.astype(np.int64),
        tracker_id=None if tracks is None else tracks.astype(np.int64),
        data={"class_name": np.array(names, dtype=np.str_)},
    )
