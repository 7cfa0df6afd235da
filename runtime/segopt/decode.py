"""Decoding: a network's fixed-size outputs on the canvas -> detections and label map of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segopt.errors import EngineError
from segopt.letterbox import Letterbox
from segopt.masks.crop import MaskCrop
from segopt.masks.paste import paste_masks
from segopt.model.card import PasteRule

Outputs = Mapping[str, NDArray[np.generic]]
"""Tensors by name, as the design's contract has them: the first axis is the batch."""


_NOT_FINITE = (
    "the engine gave numbers that are not finite; its precision is too low for this network: "
    "build it again in FP32"
)


@dataclass(frozen=True)
class Detections:
    """Detections of one frame, by descending score, boxes in frame pixels."""

    boxes: NDArray[np.float32]
    """float32 [N, 4]: x0, y0, x1, y1; may reach beyond the frame where the network saw padding."""
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    masks: NDArray[np.floating]
    """[N, M, M] (M is 28 in Mask R-CNN): mask probability inside the box; or [N, h, w], logits over the canvas."""
    extent: tuple[float, float] | None = None
    """Height and width of the canvas, in pixels of the frame; None where the frame fills it."""

    def paste(self, size: tuple[int, int], rule: PasteRule) -> tuple[MaskCrop, ...]:
        """Each object's mask on a frame of ``size`` (height, width)."""
        return tuple(paste_masks(self.masks, self.boxes, *size, rule=rule, extent=self.extent))


def decode_detections(outputs: Outputs, i: int, letterbox: Letterbox, score_threshold: float) -> Detections:
    """Detections of frame ``i`` of a batch with at least ``score_threshold``.

    Objects that lie wholly in the letterbox's padding are left out.

    Raises:
        EngineError: the engine gave numbers that are not finite.
    """
    scores = np.asarray(outputs["scores"][i], dtype=np.float32)
    # Unused slots carry negative scores, so a threshold of 0 takes exactly the detections.
    used = np.flatnonzero(scores >= max(score_threshold, 0.0))
    boxes = letterbox.boxes_to_frame(np.asarray(outputs["boxes"][i][used], dtype=np.float32))
    masks = np.asarray(outputs["masks"][i][used], dtype=np.float32)
    if not all(np.isfinite(numbers).all() for numbers in (scores, boxes, masks)):
        raise EngineError(_NOT_FINITE)
    height, width = letterbox.frame
    on_frame = (boxes[:, 0] < width) & (boxes[:, 1] < height)
    return Detections(
        boxes=boxes[on_frame],
        scores=scores[used[on_frame]],
        labels=np.asarray(outputs["labels"][i][used[on_frame]], dtype=np.int32),
        masks=masks[on_frame],
        extent=letterbox.extent,
    )


@dataclass(frozen=True)
class Queries:
    """The kept queries of one frame, as :func:`segopt.merge.merge_queries` takes them."""

    frame: tuple[int, int]
    """Height and width of the frame."""
    segments: NDArray[np.uint8]
    """uint8 [h, w]: the part of the graph's map on which the frame lies."""
    scores: NDArray[np.float32]
    """float32 [K], descending; negative where a slot is unused."""
    labels: NDArray[np.int32]
    mask_areas: NDArray[np.int64]
    """int64 [K]: pixels of each mask on this part of the map."""

    @property
    def converged(self) -> bool:
        """False where every slot is used, so that there may have been more queries."""
        return not self.scores.size or bool(self.scores[-1] <= 0)


def decode_queries(outputs: Outputs, i: int, letterbox: Letterbox) -> Queries:
    """Kept queries of frame ``i`` of a batch, without what lies in the letterbox's padding.

    Raises:
        EngineError: the engine gave numbers that are not finite.
    """
    scores = np.asarray(outputs["scores"][i], dtype=np.float32)
    if not np.isfinite(scores).all():
        raise EngineError(_NOT_FINITE)
    whole = np.asarray(outputs["segments"][i], dtype=np.uint8)
    scale = whole.shape[0] // letterbox.canvas[0]
    height, width = (side * scale for side in letterbox.content)
    # The content fills the canvas in one direction at least: cut in the other, and nothing of the mask is lost.
    rows, columns = np.asarray(outputs["mask_rows"][i]), np.asarray(outputs["mask_columns"][i])
    counts = columns[:, :width] if height == whole.shape[0] else rows[:, :height]
    return Queries(
        letterbox.frame,
        np.ascontiguousarray(whole[:height, :width]),
        scores,
        np.asarray(outputs["labels"][i], dtype=np.int32),
        counts.sum(axis=1, dtype=np.int64),
    )


def decode_semantic(outputs: Outputs, i: int, letterbox: Letterbox) -> NDArray[np.uint8]:
    """Label map of frame ``i`` of a batch: uint8 [h, w] at the frame's resolution."""
    return letterbox.map_to_frame(np.asarray(outputs["semantic"][i], dtype=np.uint8))


def decode_converged(outputs: Outputs, i: int) -> bool:
    """Whether the graph's suppression converged on frame ``i``; graphs without suppression always do."""
    converged = outputs.get("converged")
    return converged is None or bool(converged[i])


def clip_boxes(boxes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Boxes float32 [N, 4] cut to a frame of the given size in pixels."""
    return np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float32))
