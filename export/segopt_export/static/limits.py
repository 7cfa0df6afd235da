"""What a static graph is made for, and what it fixes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Target = Literal["cpu", "tensorrt"]
RoiAlign = Literal["grid", "gather"]
"""How RoIAlign reads the pyramid: with GridSample, or by gathering cells."""


@dataclass(frozen=True)
class DetectionLimits:
    """Sizes that a static graph fixes, and how it reads boxes."""

    max_detections: int | None = None
    """None: as many as the network itself gives, ``box_detections_per_img``, which is 100 unless set otherwise."""
    candidates: int = 2000
    """(proposal, class) pairs that enter the last suppression; TensorRT's TopK takes at most 3840."""
    suppression_steps: int = 20
    roi_align: RoiAlign | None = None
    """None is what is fast on the target: gather on a CPU, grid with TensorRT."""
    map_scale: int = 1
    """Query networks: sides of the graph's map in those of the canvas."""
    all_masks: bool = False
    """On a CPU: a mask for each slot, in place of those that hold a detection, so that work does not depend on the
    picture."""
