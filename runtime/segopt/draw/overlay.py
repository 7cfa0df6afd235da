"""Draws results onto frames.

Whatever the number of objects, a frame is colored once: labels become an index map, the map becomes colors
through one look-up table, and colors are blended with the frame in one pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt import frame as frames
from segopt.draw.captions import Plates, Rect, Scale, legend
from segopt.draw.palette import Color, class_colors, instance_color, line_color
from segopt.frame import Frame
from segopt.masks.label_runs import LabelRuns, narrowed
from segopt.model.categories import category_by_id, is_no_class

if TYPE_CHECKING:
    from segopt.masks.crop import MaskCrop
    from segopt.model.categories import Category
    from segopt.segment import Segment

IndexMap = NDArray[np.uint8] | NDArray[np.uint16]
"""[H, W]: 0 stays the frame, i is painted in ``colors[i - 1]``."""

_STUFF_PLATE: Color = (20, 20, 24)
_BAND = 32
"""Rows that are painted at a time, so that what is between the steps stays in a cache: half the time at 1080p."""
# Regions are measured for their names on a map of this height.
_SKETCH_HEIGHT = 216
# A plate is wider than high: distances inside a region are measured with x pressed together by this.
_SQUEEZE = 3


def draw_semantic(
    frame: Frame, classes: NDArray[np.uint8], categories: Iterable[Category], *, opacity: float = 0.5
) -> Frame:
    """Classes in color, outlined, with a legend of those that are present (in the order of their ids).

    Background (by its name: background, void, unlabelled, ...) and indices without a category stay the frame.

    Args:
        frame: uint8 BGR [H, W, 3]; not modified.
        classes: uint8 [H, W], ids of categories.
        categories: their names and colors.
        opacity: of the colors inside a region, 0 to 1.

    Returns:
        A new array, uint8 BGR [H, W, 3].

    Raises:
        ValueError: the frame is no BGR picture of the label map's size.
    """
    size = check_frame(frame, classes.shape)
    shown = sorted(
        (c for c in category_by_id(categories).values() if not is_no_class(c.name)),
        key=lambda category: category.id,
    )
    index = _index_map(classes, [category.id for category in shown])
    scale = Scale.of(*size)
    canvas = _paint(frame, index, [category.color for category in shown], opacity, scale.line)
    # np.unique of a 1080p map takes 10 ms, this 0.3 ms.
    pixels = cv2.calcHist([index], [0], None, [len(shown) + 1], [0, len(shown) + 1]).reshape(-1)
    entries = [(shorten(c.name), c.color) for i, c in enumerate(shown, start=1) if pixels[i]]
    legend(canvas, entries, scale)
    return canvas


def draw_instances(
    frame: Frame,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    crops: Sequence[MaskCrop],
    categories: Iterable[Category],
    *,
    opacity: float = 0.5,
    tracks: NDArray[np.int32] | None = None,
    shades: NDArray[np.int32] | None = None,
) -> Frame:
    """Masks in shades of their class's color, boxes, and on each a plate ``name score``, or ``name 7`` of track 7.

    Where masks overlap the one with the higher score is seen. In a crowd, plates that would cover others are left
    out, those of small objects first.

    Args:
        frame: uint8 BGR [H, W, 3]; not modified.
        boxes: float32 [N, 4], x0, y0, x1, y1 in frame pixels.
        scores: float32 [N], descending.
        labels: int32 [N], category ids.
        crops: N masks inside the frame.
        categories: names and colors.
        opacity: of the colors inside a mask, 0 to 1.
        tracks: int32 [N], numbers of the objects in the whole video.
        shades: int32 [N], which shade each one has; None deals them out by size.

    Returns:
        A new array, uint8 BGR [H, W, 3].

    Raises:
        ValueError: the frame is no BGR picture.
    """
    scale = Scale.of(*check_frame(frame))
    known = category_by_id(categories)
    ids = [int(label) for label in labels]
    extents = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) if len(scores) else np.zeros(0)
    order = [int(i) for i in np.argsort(-extents, kind="stable")]
    colors = _instance_colors(ids, order, known, [None] * len(ids) if shades is None else shades.tolist())

    canvas: Frame = frame.copy()
    window = _union(crop.window for crop in crops if crop.mask.size)
    if window is not None:
        top, left = window[0].start, window[1].start
        shape = window[0].stop - top, window[1].stop - left
        index = np.zeros(shape, dtype=np.uint8 if len(scores) < 256 else np.uint16)
        for i in reversed(range(len(scores))):
            crop = crops[i]
            height, width = crop.mask.shape
            y, x = crop.y - top, crop.x - left
            np.copyto(index[y : y + height, x : x + width], i + 1, where=crop.mask)
        canvas[window] = _paint(frame[window], index, colors, opacity, scale.line)

    rects: list[Rect] = []
    for box, color in zip(boxes, colors, strict=True):
        x0, y0, x1, y1 = (round(float(side)) for side in box)
        rects.append((x0, y0, x1 - x0, y1 - y0))
        corners = (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1))
        cv2.rectangle(canvas, *corners, line_color(color)[::-1], scale.line)
    plates = Plates(canvas, scale)
    for i in order:
        track = None if tracks is None else int(tracks[i])
        plates.by_box(_caption(ids[i], known, track, float(scores[i])), rects[i], colors[i])
    return canvas


def draw_panoptic(
    frame: Frame,
    segment_map: NDArray[np.int32] | None,
    segments: Sequence[Segment],
    categories: Iterable[Category],
    *,
    opacity: float = 0.5,
    index: IndexMap | None = None,
) -> Frame:
    """Segments in color, outlined and named: things ``name score`` on a plate, stuff by name inside its region.

    Tracked things are named ``name 7`` and have the shade that they keep; others get theirs by size.

    Void stays the frame.

    Args:
        frame: uint8 BGR [H, W, 3]; not modified.
        segment_map: int32 [H, W], ids of segments; 0 is void.
        segments: what the map's ids mean.
        categories: names and colors.
        opacity: of the colors inside a segment, 0 to 1.
        index: in place of ``segment_map``: each pixel's position in ``segments`` plus one, 0 for void.

    Returns:
        A new array, uint8 BGR [H, W, 3].

    Raises:
        ValueError: the frame is no BGR picture of the map's size.
    """
    if index is None:
        assert segment_map is not None
        index = _index_map(segment_map, [segment.id for segment in segments])
    scale = Scale.of(*check_frame(frame, index.shape))
    known = category_by_id(categories)
    by_area = sorted(range(len(segments)), key=lambda i: -segments[i].area)
    labels = [segment.category_id for segment in segments]
    colors = _instance_colors(labels, by_area, known, [segment.shade for segment in segments])
    for i, segment in enumerate(segments):
        if not segment.is_thing:
            colors[i] = _base_color(segment.category_id, known)
    canvas = _paint(frame, index, colors, opacity, scale.line)

    sketch = _Sketch(index)
    plates = Plates(canvas, scale)
    # Stuff first: its names are few and would lose every contest for room against a crowd.
    for i in by_area:
        if not segments[i].is_thing and (spot := sketch.inner_point(i + 1)) is not None:
            name = _name(labels[i], known)
            if spot[2] >= plates.measure(name)[1] / 2:
                plates.at(name, *spot[:2], _STUFF_PLATE, alpha=0.55)
    for i in by_area:
        if segments[i].is_thing and (spot := sketch.inner_point(i + 1)) is not None:
            text = _caption(labels[i], known, segments[i].track, segments[i].score)
            roomy = spot[2] >= 1.2 * plates.measure(text)[1]
            if not (roomy and plates.at(text, *spot[:2], colors[i])):
                plates.by_box(text, sketch.box(i + 1), colors[i], centered=True)
    return canvas


def shorten(name: str) -> str:
    """A class's name as a picture shows it: COCO's ``sky-other-merged`` is ``sky``."""
    for tail in ("-merged", "-other", "-stuff"):
        name = name.removesuffix(tail)
    return name


def check_frame(frame: Frame, size: tuple[int, ...] | None = None) -> tuple[int, int]:
    """Height and width of the frame, which must be those of what is drawn."""
    frames.check_frame(frame)
    height, width = frame.shape[:2]
    if size is not None and (height, width) != size:
        raise ValueError(
            f"the frame is {width}x{height} and the result {size[1]}x{size[0]}; "
            "draw on the frame that the result was made from"
        )
    return height, width


def _name(category_id: int, known: dict[int, Category]) -> str:
    category = known.get(category_id)
    return f"class {category_id}" if category is None else shorten(category.name)


def _caption(category_id: int, known: dict[int, Category], track: int | None, score: float) -> str:
    return f"{_name(category_id, known)} {f'{score:.2f}' if track is None else track}"


def _base_color(category_id: int, known: dict[int, Category]) -> Color:
    category = known.get(category_id)
    return class_colors(abs(category_id) % 64 + 1)[-1] if category is None else category.color


def _instance_colors(
    labels: Sequence[int], order: Iterable[int], known: dict[int, Category], shades: Sequence[int | None]
) -> list[Color]:
    """A shade for each object: its own, or else the first of its class in ``order`` has the class's own color.

    The order is by size, not by score: scores of neighbors change places from frame to frame, sizes seldom do, so
    that in a video the colors flicker less.
    """
    seen: Counter[int] = Counter()
    colors: list[Color] = [(0, 0, 0)] * len(labels)
    for i in order:
        shade = shades[i]
        colors[i] = instance_color(_base_color(labels[i], known), seen[labels[i]] if shade is None else shade)
        seen[labels[i]] += 1
    return colors


def _index_map(labels: NDArray[np.integer], ids: Sequence[int]) -> IndexMap:
    """The map in which ``ids[i]`` has become ``i + 1`` and every other label 0."""
    dtype = np.uint8 if len(ids) < 256 else np.uint16
    table = np.zeros(max([255, *ids]) + 2, dtype=dtype)
    # The first of equal ids stands.
    for i, label in reversed(list(enumerate(ids, start=1))):
        if label >= 0:
            table[label] = i
    small = narrowed(labels)
    if dtype is np.uint8 and small.dtype == np.uint8 and small.size:
        if list(ids) == list(range(1, len(ids) + 1)) and small.max() <= len(ids):
            # The ids of a merged map: it is an index map already.
            return small.astype(np.uint8, copy=False)
        # cv2.LUT takes 0.1 to 1 ms at 1080p, np.take of an int32 map more.
        return np.asarray(cv2.LUT(small, table[:256]), dtype=np.uint8)
    index: IndexMap = np.take(table, labels, mode="clip")
    return index


def _paint(frame: Frame, index: IndexMap, colors: Sequence[Color], opacity: float, line: int) -> Frame:
    """The frame with every index in its color (RGB) at ``opacity``; borders are lines in the full colors."""
    if index.size == 0 or not index.any():
        return np.array(frame)
    opacity = min(max(opacity, 0.0), 1.0)
    inside, lines = _table(colors), _table([line_color(color) for color in colors])
    kernel = np.ones((2 * line + 1, 2 * line + 1), dtype=np.uint8)
    height = len(index)
    canvas: Frame = np.empty_like(frame, order="C")
    for top in range(0, height, _BAND):
        bottom = min(height, top + _BAND)
        pixels, part, drawn = index[top:bottom], frame[top:bottom], canvas[top:bottom]
        color = _colored(pixels, inside)
        cv2.addWeighted(part, 1 - opacity, color, opacity, 0, drawn)
        # Lines reach into the rows above and below.
        above, below = max(0, top - line), min(height, bottom + line)
        gradient = cv2.morphologyEx(index[above:below], cv2.MORPH_GRADIENT, kernel)
        border = gradient[top - above : bottom - above] != 0
        color = _colored(pixels, lines, out=color)
        cv2.copyTo(color, border.view(np.uint8), drawn)
        if cv2.countNonZero(pixels) < pixels.size:
            cv2.copyTo(part, (pixels == 0).view(np.uint8), drawn)
    return canvas


def _table(colors: Sequence[Color]) -> NDArray[np.uint8]:
    """Look-up table of an index map, BGR uint8 [256 or more, 3]."""
    table = np.zeros((max(256, len(colors) + 1), 3), dtype=np.uint8)
    table[1 : len(colors) + 1] = np.array(colors, dtype=np.uint8)[:, ::-1]
    return table


def _colored(index: IndexMap, table: NDArray[np.uint8], out: Frame | None = None) -> Frame:
    if index.dtype == np.uint8:
        # A color map of one's own is OpenCV's fastest look-up of three channels: 0.6 ms at 1080p, cv2.LUT 3.6 ms.
        return np.asarray(cv2.applyColorMap(index, table[:256, None], out), dtype=np.uint8)
    return np.ascontiguousarray(table[index])


def _union(windows: Iterable[tuple[slice, slice]]) -> tuple[slice, slice] | None:
    corners = [(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in windows]
    if not corners:
        return None
    tops, bottoms, lefts, rights = zip(*corners, strict=True)
    return slice(min(tops), max(bottoms)), slice(min(lefts), max(rights))


class _Sketch:
    """A small copy of an index map, on which boxes and inner points are found in a fraction of the time."""

    def __init__(self, index: IndexMap) -> None:
        height, width = index.shape
        self._step = max(1.0, height / _SKETCH_HEIGHT)
        size = max(1, round(width / self._step)), max(1, round(height / self._step))
        sketch = cv2.resize(index, size, interpolation=cv2.INTER_NEAREST)
        self._map: IndexMap = np.asarray(sketch, dtype=np.uint16)
        self._runs = LabelRuns.of(self._map)
        self._position = {int(label): k for k, label in enumerate(self._runs.labels)}

    def box(self, label: int) -> Rect:
        """Tight box of a label that has an inner point, in pixels of the frame."""
        x, y, width, height = (round(side * self._step) for side in self._runs.box(self._position[label]))
        return x, y, width, height

    def inner_point(self, label: int) -> tuple[int, int, float] | None:
        """Where a region has the most room for a flat plate (x, y), and half that room's height.

        In pixels of the frame; None where the region is too small for the sketch.
        """
        k = self._position.get(label)
        if k is None:
            return None
        x, y, width, height = self._runs.box(k)
        plane = (self._map[y : y + height, x : x + width] == label).view(np.uint8)
        plane = cv2.resize(plane, (max(1, width // _SQUEEZE), height), interpolation=cv2.INTER_AREA)
        distance = cv2.distanceTransform(
            cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3
        )
        room = float(distance.max())
        # Of equally good points (the ridge of a long region) the one in the middle.
        rows, columns = np.nonzero(distance >= 0.95 * room)
        middle = (np.square(rows - rows.mean()) + np.square(columns - columns.mean())).argmin()
        row, column = int(rows[middle]), int(columns[middle])
        center_x = x + (column - 0.5) * width / plane.shape[1]
        return round(center_x * self._step), round((y + row - 0.5) * self._step), room * self._step
