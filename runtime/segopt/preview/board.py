"""What is shown: the latest picture and figures, made once for all viewers and only while somebody looks."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segopt.frame import Frame
from segopt.model.categories import name_of
from segopt.results import InstanceResult, PanopticResult
from segopt.sinks.base import Finished, Sink

LINES = 720
"""Height of the picture that is shown, at most."""
_QUALITY = 80
_FIGURES_SECONDS = 0.5
_RATE_SECONDS = 2.0


class Board:
    """One or several tiles, drawn and encoded in a thread of its own.

    A viewer waits in :meth:`next_picture` or :meth:`next_figures`; what it is too slow for it does not get, and
    nothing is drawn for one that does not wait.
    """

    def __init__(self) -> None:
        self._tiles: list[Tile] = []
        self._changed = threading.Condition()
        self._viewers = 0
        self._new_picture = self._new_figures = False
        """There is something to draw, to tell."""
        self._waiting = {"picture": 0, "figures": 0}
        self._told = 0.0
        self._closed = False
        self._picture: tuple[int, bytes] = (0, b"")
        self._figures: tuple[int, str] = (0, "{}")
        self.drawn = 0
        """How many pictures were made."""
        self._thread = threading.Thread(target=self._work, name="segopt-preview", daemon=True)
        self._thread.start()

    def tile(self, name: str) -> Tile:
        """A further tile."""
        with self._changed:
            self._tiles.append(Tile(name, self))
            return self._tiles[-1]

    def look(self) -> None:
        """A viewer has come."""
        with self._changed:
            self._viewers += 1
            self._new_picture = self._new_figures = True
            self._changed.notify_all()

    def leave(self) -> None:
        """A viewer has gone."""
        with self._changed:
            self._viewers -= 1

    @property
    def viewers(self) -> int:
        """How many look, or read figures."""
        return self._viewers

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""
        return self._viewers > 0

    def touch(self) -> None:
        """A tile has something new."""
        with self._changed:
            self._new_picture = self._new_figures = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let all viewers go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether there will be nothing new."""
        return self._closed

    def next_picture(self, after: int, timeout: float) -> tuple[int, bytes]:
        """Number and JPEG of a picture later than ``after``; the same number where none came in time."""
        with self._changed, self._waits("picture"):
            self._changed.wait_for(lambda: self._picture[0] > after or self._closed, timeout)
            return self._picture

    def next_figures(self, after: int, timeout: float) -> tuple[int, str]:
        """Number and JSON of figures later than ``after``, as :meth:`next_picture`."""
        with self._changed, self._waits("figures"):
            self._changed.wait_for(lambda: self._figures[0] > after or self._closed, timeout)
            return self._figures

    @contextlib.contextmanager
    def _waits(self, kind: str) -> Iterator[None]:
        self._waiting[kind] += 1
        self._changed.notify_all()
        try:
            yield
        finally:
            self._waiting[kind] -= 1

    def _due(self) -> tuple[bool, bool]:
        """Whether a picture, and whether figures are to be made now."""
        told = time.monotonic() - self._told
        return (
            self._new_picture and self._waiting["picture"] > 0,
            self._new_figures and self._waiting["figures"] > 0 and told >= _FIGURES_SECONDS,
        )

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or any(self._due()), _FIGURES_SECONDS)
                if self._closed:
                    return
                drawing, telling = self._due()
                self._new_picture &= not drawing
                self._new_figures &= not telling
                tiles = list(self._tiles)
            if drawing:
                self._draw(tiles)
            if telling:
                figures = json.dumps({"tiles": [tile.figures() for tile in tiles], "viewers": self._viewers})
                with self._changed:
                    self._told = time.monotonic()
                    self._figures = self._figures[0] + 1, figures
                    self._changed.notify_all()

    def _draw(self, tiles: list[Tile]) -> None:
        picture = _grid([tile.picture() for tile in tiles])
        if picture is None:
            return
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        with self._changed:
            self.drawn += 1
            self._picture = self._picture[0] + 1, jpeg
            self._changed.notify_all()


class Tile(Sink):
    """The part of a board that shows one source: a sink that never makes the run wait."""

    label = "preview"
    path = Path("-")

    def __init__(self, name: str, board: Board) -> None:
        self.name = name
        self._board = board
        self._item: Finished | None = None
        self._arrivals: deque[float] = deque()
        self._stages: Callable[[], Mapping[str, float]] = dict
        self._ended = ""

    def watch(self, stages: Callable[[], Mapping[str, float]]) -> None:
        """Take what tells each stage's median milliseconds a frame."""
        self._stages = stages

    def write(self, item: Finished) -> None:
        """Show this frame from now on."""
        now = time.monotonic()
        self._arrivals.append(now)
        while now - self._arrivals[0] > _RATE_SECONDS:
            self._arrivals.popleft()
        self._item = item
        if self._board.watched:
            self._board.touch()

    def close(self) -> None:
        """Say that nothing more comes; the last picture stays."""
        self._ended = "ended"
        self._board.touch()

    def picture(self) -> Frame | None:
        """What is shown, no higher than 720 lines; None before the first frame."""
        item = self._item
        return None if item is None else _shrunk(item.overlay, LINES)

    def figures(self) -> dict[str, Any]:
        """For the page: ``name``, ``frame``, ``fps``, ``stages`` (ms), ``counts`` and ``legend`` by class."""
        item, arrivals = self._item, list(self._arrivals)
        found = _counts(item) if item is not None else {}
        lasted = arrivals[-1] - arrivals[0] if len(arrivals) > 1 else 0.0
        late = time.monotonic() - arrivals[-1] if arrivals else 0.0
        return {
            "name": self.name,
            "frame": None if item is None else item.index,
            "fps": round((len(arrivals) - 1) / lasted, 1) if lasted and late < _RATE_SECONDS else 0.0,
            "stages": {name: round(value, 1) for name, value in self._stages().items()},
            "classes": list(found.values()),
            "ended": self._ended,
        }


def _counts(item: Finished) -> dict[int, dict[str, Any]]:
    """Of each class that is in the frame: name, color and number of objects (None of stuff)."""
    result = item.result
    if isinstance(result, PanopticResult):
        counts = Counter(segment.category_id for segment in result.segments)
    elif isinstance(result, InstanceResult):
        counts = Counter(result.labels.tolist())
    else:
        counts = Counter(np.flatnonzero(np.bincount(result.classes.ravel())).tolist())
    known = {category.id: category for category in result.categories}
    return {
        label: {
            "name": name_of(label, result.names),
            "color": "#{:02x}{:02x}{:02x}".format(*(known[label].color if label in known else (128, 128, 128))),
            "count": count if label in known and known[label].is_thing else None,
        }
        for label, count in sorted(counts.items())
    }


def _grid(pictures: list[Frame | None]) -> Frame | None:
    """Several pictures as one, in rows; None where there is none yet."""
    if not any(picture is not None for picture in pictures):
        return None
    if len(pictures) == 1:
        return pictures[0]
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    height, width = LINES // rows, LINES * 16 // 9 // columns
    canvas = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for i, picture in enumerate(pictures):
        if picture is None:
            continue
        scale = min(height / picture.shape[0], width / picture.shape[1])
        size = max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        top = i // columns * height + (height - size[1]) // 2
        left = i % columns * width + (width - size[0]) // 2
        canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


def _shrunk(picture: Frame, lines: int) -> Frame:
    height, width = picture.shape[:2]
    if height <= lines:
        return picture
    size = max(1, round(width * lines / height)), lines
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
