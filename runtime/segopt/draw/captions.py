"""Text on a frame: plates that keep off each other and inside the frame, and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.draw.palette import Color, text_color
from segopt.frame import Frame

Rect = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

_FONT = cv2.FONT_HERSHEY_DUPLEX
_DARK: Color = (20, 20, 24)
_WHITE: Color = (255, 255, 255)
# A plate of which more than this share lies on other plates is left out: half-covered names tell nobody anything.
_MAX_COVERED = 0.3
# Plates may take this share of the frame. A crowd at 320x240 would otherwise be all plates and no picture.
_MAX_PLATES = 0.12


@dataclass(frozen=True)
class Scale:
    """Sizes that follow the frame, so that 320x240 and 4K look alike."""

    line: int
    """Width of an outline in pixels."""
    font: float
    """OpenCV's font scale."""
    thickness: int
    """Of OpenCV's font strokes."""
    pad: int
    """Between text and the plate's edge, in pixels."""

    @classmethod
    def of(cls, height: int, width: int) -> Scale:
        """For a frame of this size."""
        short = min(height, width)
        font = 0.27 + 0.0004 * short
        return cls(
            line=max(1, round(short / 600)),
            font=font,
            thickness=max(1, round(font * 1.1)),
            pad=max(2, round(font * 6)),
        )


@lru_cache(maxsize=4096)
def _text_size(text: str, font: float, thickness: int) -> tuple[int, int, int]:
    """Width, height above the baseline, depth below it."""
    (width, height), below = cv2.getTextSize(text, _FONT, font, thickness)
    return int(width), int(height), int(below)


def _bgr(color: Color) -> Color:
    return color[2], color[1], color[0]


@dataclass
class Plates:
    """Names on a frame, each on a plate that avoids those placed before it.

    ``canvas`` is drawn on.
    """

    canvas: Frame
    scale: Scale
    _taken: list[Rect] = field(default_factory=list)
    _area: int = 0

    def measure(self, text: str) -> tuple[int, int]:
        """Width and height of the plate of a text, in pixels."""
        width, height, below = _text_size(text, self.scale.font, self.scale.thickness)
        return width + 2 * self.scale.pad, height + below + self.scale.pad

    def by_box(self, text: str, box: Rect, color: Color, *, centered: bool = False) -> bool:
        """Name an object by its box: above it, at an inner corner, below it; False where there is no room.

        Args:
            text: the name.
            box: in pixels of the frame.
            color: of the plate, RGB.
            centered: prefer the middle above the box to its left corner (where no box is drawn).
        """
        x, y, w, h = box
        width, height = self.measure(text)
        right, bottom = x + w - width, y + h
        spots = [
            (x, y - height),
            (x, y),
            (right, y - height),
            (right, y),
            (x, bottom),
            (x, bottom - height),
            (x + (w - width) // 2, y + (h - height) // 2),
        ]
        if centered:
            spots.insert(0, (x + (w - width) // 2, y - height))
        return self._place(text, spots, color, 1.0)

    def at(self, text: str, x: int, y: int, color: Color, *, alpha: float = 1.0) -> bool:
        """Name a region around a point inside it; False where there is no room."""
        width, height = self.measure(text)
        return self._place(text, [(x - width // 2, y - height // 2)], color, alpha)

    def _place(self, text: str, spots: Sequence[tuple[int, int]], color: Color, alpha: float) -> bool:
        frame_height, frame_width = self.canvas.shape[:2]
        width, height = self.measure(text)
        # Inside the frame; a spot that had to move far lies elsewhere than meant, but still on the object's side.
        right, bottom = max(0, frame_width - width), max(0, frame_height - height)
        corners = np.array([(min(max(x, 0), right), min(max(y, 0), bottom)) for x, y in spots], dtype=np.int64)
        covered = _covered(corners, width, height, self._taken)
        best = int(covered.argmin())
        area = width * height
        too_many = self._taken and self._area + area > _MAX_PLATES * frame_height * frame_width
        if too_many or covered[best] > _MAX_COVERED * area:
            return False
        x, y = (int(side) for side in corners[best])
        self._taken.append((x, y, width, height))
        self._area += area
        fill(self.canvas, (x, y, width, height), color, alpha)
        write(self.canvas, text, x + self.scale.pad, y + self.scale.pad // 2, text_color(color), self.scale)
        return True


def _covered(corners: NDArray[np.int64], width: int, height: int, taken: Sequence[Rect]) -> NDArray[np.int64]:
    """How many pixels of a plate at each corner lie on plates that are there."""
    if not taken:
        return np.zeros(len(corners), dtype=np.int64)
    x, y, w, h = np.array(taken, dtype=np.int64).T
    left, top = corners[:, :1], corners[:, 1:]
    across = np.minimum(left + width, x + w) - np.maximum(left, x)
    down = np.minimum(top + height, y + h) - np.maximum(top, y)
    overlap: NDArray[np.int64] = (np.maximum(across, 0) * np.maximum(down, 0)).sum(axis=1)
    return overlap


def fill(canvas: Frame, rect: Rect, color: Color, alpha: float = 1.0) -> None:
    """Fill a rectangle of a BGR frame with an RGB color, at opacity ``alpha``."""
    x, y, width, height = rect
    window = canvas[max(y, 0) : y + height, max(x, 0) : x + width]
    if window.size == 0:
        return
    if alpha >= 1:
        # By numpy, three bytes at a time, it takes several times as long.
        cv2.rectangle(canvas, (x, y), (x + width - 1, y + height - 1), _bgr(color), cv2.FILLED)
    else:
        solid = np.empty_like(window)
        solid[:] = _bgr(color)
        window[:] = cv2.addWeighted(window, 1 - alpha, solid, alpha, 0)


def write(canvas: Frame, text: str, x: int, y: int, color: Color, scale: Scale) -> None:
    """Write a text with its top left corner at (x, y) of a BGR frame, in an RGB color."""
    _, height, _ = _text_size(text, scale.font, scale.thickness)
    place = (x, y + height)
    cv2.putText(canvas, text, place, _FONT, scale.font, _bgr(color), scale.thickness, cv2.LINE_AA)


def legend(canvas: Frame, entries: Sequence[tuple[str, Color]], scale: Scale) -> None:
    """A key of names and RGB colors in the top left corner; what does not fit is counted in a last line."""
    frame_height, frame_width = canvas.shape[:2]
    _, cap, below = _text_size("Ag", scale.font, scale.thickness)
    row = cap + below + scale.pad
    margin = 2 * scale.pad
    fits = max(1, (int(frame_height * 0.8) - margin) // row)
    rows: list[tuple[str, Color | None]] = [(name, color) for name, color in entries]
    if len(rows) > fits:
        rows = [*rows[: fits - 1], (f"+{len(rows) - fits + 1} more", None)]
    if not rows:
        return
    swatch = cap
    widest = max(_text_size(name, scale.font, scale.thickness)[0] for name, _ in rows)
    panel = min(frame_width, widest + swatch + 2 * margin + scale.pad), len(rows) * row + margin
    fill(canvas, (scale.pad, scale.pad, *panel), _DARK, 0.6)
    x, y = scale.pad + margin, scale.pad + margin // 2
    for name, color in rows:
        top = y + (row - swatch) // 2
        if color is not None:
            fill(canvas, (x, top, swatch, swatch), color)
        write(canvas, name, x + swatch + margin, y + scale.pad // 2, _WHITE, scale)
        y += row
