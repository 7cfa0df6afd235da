"""What a segmenter returns: small frozen dataclasses of numpy arrays at the frame's own resolution.

Each result draws itself onto a frame and gives its COCO form. Category names, thing or stuff, and colors come
from the model's card, which every result carries as ``categories``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segopt.coco.forms import instance_results, panoptic_annotation, semantic_results, thing_results
from segopt.draw.overlay import check_frame, draw_instances, draw_panoptic, draw_semantic
from segopt.frame import Frame
from segopt.masks.crop import BoolImage, MaskCrop
from segopt.masks.label_runs import LabelRuns
from segopt.model.categories import Category
from segopt.segment import Segment


@dataclass(frozen=True)
class SemanticResult:
    """A class for each pixel."""

    classes: NDArray[np.uint8]
    """uint8 [H, W]: index of the class."""
    categories: tuple[Category, ...]
    converged: ClassVar[bool] = True
    """As that of the other results; a label map needs no suppression."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame."""
        height, width = self.classes.shape
        return height, width

    def draw(self, frame: Frame, *, opacity: float = 0.5) -> Frame:
        """The frame with classes in color and a legend; a new array, uint8 BGR [H, W, 3]."""
        return draw_semantic(frame, self.classes, self.categories, opacity=opacity)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results (stuff task): one entry with an RLE for each class that is present."""
        return semantic_results(LabelRuns.of(self.classes), self.categories, image_id)


@dataclass(frozen=True)
class InstanceResult:
    """Detected objects, by descending score."""

    boxes: NDArray[np.float32]
    """float32 [N, 4]: x0, y0, x1, y1 in frame pixels, inside the frame."""
    scores: NDArray[np.float32]
    """float32 [N], 0 to 1, descending."""
    labels: NDArray[np.int32]
    """int32 [N]: category ids, the model's own."""
    crops: tuple[MaskCrop, ...]
    """N masks, each as a crop of the frame."""
    size: tuple[int, int]
    """Height and width of the frame."""
    categories: tuple[Category, ...]
    converged: bool = True
    """False where the graph's suppression had too few steps for this frame, so that a box may be wrong."""

    def __len__(self) -> int:
        return len(self.scores)

    def mask(self, i: int) -> BoolImage:
        """Mask of object ``i``, bool [H, W]."""
        return self.crops[i].on_canvas(*self.size)

    def draw(self, frame: Frame, *, opacity: float = 0.5) -> Frame:
        """The frame with masks, boxes, names and scores; a new array, uint8 BGR [H, W, 3]."""
        check_frame(frame, self.size)
        return draw_instances(
            frame, self.boxes, self.scores, self.labels, self.crops, self.categories, opacity=opacity
        )

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: one entry for each object, with ``bbox`` and RLE ``segmentation``."""
        return instance_results(self.boxes, self.scores, self.labels, self.crops, self.size, image_id)


@dataclass(frozen=True)
class PanopticResult:
    """A segment for each pixel: objects (things) and regions (stuff)."""

    segment_map: NDArray[np.int32]
    """int32 [H, W]: id of the pixel's segment, 0 where there is none (void)."""
    segments: tuple[Segment, ...]
    """In the order of their ids: things by descending score, then stuff."""
    categories: tuple[Category, ...]
    converged: bool = True
    """False where the graph's suppression had too few steps for this frame, so that an object may be wrong."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame."""
        height, width = self.segment_map.shape
        return height, width

    def mask(self, segment_id: int) -> BoolImage:
        """Mask of one segment, bool [H, W]."""
        return np.equal(self.segment_map, segment_id)

    def draw(self, frame: Frame, *, opacity: float = 0.5) -> Frame:
        """The frame with segments in color, outlined and named; a new array, uint8 BGR [H, W, 3]."""
        return draw_panoptic(frame, self.segment_map, self.segments, self.categories, opacity=opacity)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: one entry for each thing, with ``bbox`` and RLE ``segmentation``."""
        return thing_results(self._runs, self.segments, image_id)

    def to_coco_panoptic(self, image_id: int, file_name: str) -> tuple[Frame, dict[str, Any]]:
        """COCO panoptic form: the PNG (uint8 BGR [H, W, 3], id = R + 256 G + 65536 B) and its annotation."""
        return panoptic_annotation(self.segment_map, self._runs, self.segments, image_id, file_name)

    @functools.cached_property
    def _runs(self) -> LabelRuns:
        return LabelRuns.of(self.segment_map)


Result = SemanticResult | InstanceResult | PanopticResult
