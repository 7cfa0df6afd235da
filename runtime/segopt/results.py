"""What a segmenter returns: small frozen dataclasses of numpy arrays at the frame's own resolution.

Each result draws itself onto a frame and gives its COCO form. Category names, thing or stuff, and colours come
from the model's card, which every result carries as ``categories``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segopt.card import Category

if TYPE_CHECKING:
    from segopt.merge import Segment

BoolImage = NDArray[np.bool_]
Frame = NDArray[np.uint8]
"""BGR picture, uint8 [H, W, 3], as OpenCV holds it."""


@dataclass(frozen=True)
class MaskCrop:
    """A mask that is False outside of one rectangle of the frame."""

    x: int
    y: int
    """Column and row of the rectangle's top left pixel."""
    mask: BoolImage
    """bool [h, w], h and w may be 0."""

    @property
    def area(self) -> int:
        """Number of True pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the rectangle, to index a frame-sized array."""
        height, width = self.mask.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)

    def on_canvas(self, height: int, width: int) -> BoolImage:
        """The mask as a plane of its own, bool [height, width]."""
        plane = np.zeros((height, width), dtype=np.bool_)
        plane[self.window] = self.mask
        return plane


@dataclass(frozen=True)
class SemanticResult:
    """A class for each pixel."""

    classes: NDArray[np.uint8]
    """uint8 [H, W]: index of the class."""
    categories: tuple[Category, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame."""
        height, width = self.classes.shape
        return height, width

    def draw(self, frame: Frame, *, opacity: float = 0.5) -> Frame:
        """The frame with classes in colour and a legend; a new array, uint8 BGR [H, W, 3]."""
        from segopt.draw import draw_semantic

        return draw_semantic(frame, self, opacity=opacity)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results (stuff task): one entry with an RLE for each class that is present."""
        from segopt.coco import semantic_results

        return semantic_results(self, image_id)


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
        from segopt.draw import draw_instances

        return draw_instances(frame, self, opacity=opacity)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: one entry for each object, with ``bbox`` and RLE ``segmentation``."""
        from segopt.coco import instance_results

        return instance_results(self, image_id)


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
        """The frame with segments in colour, outlined and named; a new array, uint8 BGR [H, W, 3]."""
        from segopt.draw import draw_panoptic

        return draw_panoptic(frame, self, opacity=opacity)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: one entry for each thing, with ``bbox`` and RLE ``segmentation``."""
        from segopt.coco import thing_results

        return thing_results(self, image_id)

    def to_coco_panoptic(self, image_id: int, file_name: str) -> tuple[Frame, dict[str, Any]]:
        """COCO panoptic form: the PNG (uint8 BGR [H, W, 3], id = R + 256 G + 65536 B) and its annotation."""
        from segopt.coco import panoptic_annotation

        return panoptic_annotation(self, image_id, file_name)


Result = SemanticResult | InstanceResult | PanopticResult


def category_by_id(categories: Iterable[Category]) -> dict[int, Category]:
    """Look-up from category id to category."""
    return {category.id: category for category in categories}
