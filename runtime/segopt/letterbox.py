"""Letterboxing: a frame of any size on the fixed canvas of a network, and back.

The aspect is kept, the frame sits at the top left, and the rest is padded with the mean color, which
normalization turns into zeros: what torchvision pads its batches with
(``torchvision/models/detection/transform.py``). A card can name another color; query networks saw black. Or it
says that frames are stretched: each side is resized by itself, so that the frame fills the canvas (RF-DETR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.frame import Frame, check_frame
from segopt.model.card import Card, ResizeRule


@dataclass(frozen=True)
class Letterbox:
    """Where a frame lies on a canvas. All sizes are (height, width) in pixels."""

    frame: tuple[int, int]
    canvas: tuple[int, int]
    content: tuple[int, int]
    """Size of the resized frame on the canvas."""

    @classmethod
    def fit(cls, frame: tuple[int, int], canvas: tuple[int, int], resize: ResizeRule = "letterbox") -> Letterbox:
        """The largest content of the frame's aspect that fits; where frames are stretched, the whole canvas."""
        if resize == "stretch":
            return cls(frame, canvas, canvas)
        scale = min(canvas[0] / frame[0], canvas[1] / frame[1])
        height, width = (
            min(limit, max(1, round(side * scale))) for side, limit in zip(frame, canvas, strict=True)
        )
        return cls(frame, canvas, (height, width))

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width of the whole canvas, in pixels of the frame."""
        (height, width), (content_height, content_width) = self.frame, self.content
        return self.canvas[0] * height / content_height, self.canvas[1] * width / content_width

    def place(self, frame: NDArray[np.uint8], canvas: NDArray[np.uint8], padding: Sequence[int]) -> None:
        """Write the frame onto a canvas.

        Args:
            frame: uint8 BGR [h, w, 3].
            canvas: uint8 BGR [H, W, 3], overwritten.
            padding: color of the padding, BGR, 0 to 255.
        """
        height, width = self.content
        if self.content == self.frame:
            canvas[:height, :width] = frame
        else:
            # Bilinear without antialiasing, as torchvision's detectors resize in training and evaluation.
            canvas[:height, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        canvas[height:] = padding
        canvas[:height, width:] = padding

    def boxes_to_frame(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes float32 [N, 4] in canvas pixels -> frame pixels; they may reach beyond the frame."""
        (height, width), (content_height, content_width) = self.frame, self.content
        x, y = width / content_width, height / content_height
        return boxes * np.array([x, y, x, y], dtype=np.float32)

    def map_to_frame(self, classes: NDArray[np.uint8], *, scale: int = 1) -> NDArray[np.uint8]:
        """Label map uint8 [H, W] of the canvas -> uint8 [h, w] of the frame, nearest neighbor.

        Args:
            classes: the map, each pixel of the canvas ``scale`` pixels high and wide.
            scale: 1, or more where the map is finer than the canvas.
        """
        content = classes[: self.content[0] * scale, : self.content[1] * scale]
        if content.shape == self.frame:
            return np.ascontiguousarray(content)
        height, width = self.frame
        # INTER_NEAREST takes the top left neighbor; INTER_NEAREST_EXACT the nearest to the pixel's center.
        resized = cv2.resize(content, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return resized.astype(np.uint8, copy=False)


@dataclass(frozen=True)
class Prepared:
    """Frames on the network's canvas."""

    image: NDArray[np.uint8]
    """uint8 BGR [B, H, W, 3]."""
    letterboxes: tuple[Letterbox, ...]
    """One for each frame; there may be fewer than B."""


def letterbox_frames(frames: Sequence[Frame], card: Card) -> Prepared:
    """Put up to ``card.batch`` frames, uint8 BGR [h, w, 3] each, on a model's canvas; unused slots are padding.

    Raises:
        ValueError: too many frames, or an array that is no frame.
    """
    if not 0 < len(frames) <= card.batch:
        raise ValueError(f"{len(frames)} frames for a model that takes 1 to {card.batch} at once")
    padding = card.padding_color[::-1]
    image = np.empty((card.batch, *card.canvas, 3), dtype=np.uint8)
    image[len(frames) :] = padding
    letterboxes = []
    for frame, slot in zip(frames, image, strict=False):
        check_frame(frame)
        if 0 in frame.shape:
            raise ValueError(f"a frame has at least one pixel; this is {frame.shape}")
        letterbox = Letterbox.fit(frame.shape[:2], card.canvas, card.resize)
        letterbox.place(frame, slot, padding)
        letterboxes.append(letterbox)
    return Prepared(image, tuple(letterboxes))
