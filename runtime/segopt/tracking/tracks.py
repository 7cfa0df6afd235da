"""The objects that a tracker knows: where each was, how it moves, what it is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segopt.draw.palette import SHADES
from segopt.tracking.association import Boxes, greedy, grown, overlaps

_OVERLAP = 0.2
"""IoU at which two boxes of a class are one object."""
_GROWN_OVERLAP = 0.1
"""The same in the second round, in which boxes are grown."""
_GROWTH, _GROWTH_PER_SECOND, _LARGEST_GROWTH = 0.5, 1.5, 1.0
_MEMORY_SECONDS = 1.0
"""For so long an object that is not seen is waited for."""
_INERTIA_SECONDS = 0.2
"""A velocity is a mean in which what was measured so long ago counts 1/e."""


@dataclass(frozen=True)
class Identity:
    """Who an object is."""

    number: int
    shade: int
    """Which shade of its class's color is its own."""
    since: float
    """When it was first seen, in seconds."""


class Tracks:
    """All objects of a video, by number. Times are in seconds on any clock, and do not fall."""

    def __init__(self, first: int) -> None:
        """No objects yet; the first one gets the number ``first``."""
        self._first = self._next = first
        self._identities: list[Identity] = []
        self._labels = np.zeros(0, dtype=np.int64)
        self._boxes: Boxes = np.zeros((0, 4), dtype=np.float32)
        """Where each was last seen."""
        self._velocities = np.zeros((0, 2), dtype=np.float32)
        """Pixels a second of its middle, x and y. Sizes are not expected to change: what hides a part of an object
        changes the size of what is seen of it at once."""
        self._seen = np.zeros(0, dtype=np.float64)
        """When each was last seen."""

    @property
    def count(self) -> int:
        """How many objects there were so far."""
        return self._next - self._first

    def follow(self, boxes: Boxes, labels: NDArray[np.int64], time: float) -> list[Identity]:
        """Who each object of a frame is: one that was seen before, or a new one.

        Args:
            boxes: float32 [N, 4], x0, y0, x1, y1 in pixels.
            labels: int64 [N], category ids.
            time: of the frame.
        """
        self._keep(time - self._seen <= _MEMORY_SECONDS)
        pairs = self._pairs(boxes, labels, time)
        known = {column: row for row, column in pairs}
        if pairs:
            rows, columns = np.array(pairs).T
            self._move(rows, boxes[columns], time)
        new = [column for column in range(len(boxes)) if column not in known]
        if not new:
            return [self._identities[known[column]] for column in range(len(boxes))]
        seen = set(known.values())
        shades = self._free_shades(labels[new], seen)
        made = {
            column: Identity(self._next + i, shade, time)
            for i, (column, shade) in enumerate(zip(new, shades, strict=True))
        }
        self._next += len(new)
        found = [
            made[column] if column in made else self._identities[known[column]] for column in range(len(boxes))
        ]
        self._add(list(made.values()), boxes[new], labels[new], time)
        return found

    def _pairs(self, boxes: Boxes, labels: NDArray[np.int64], time: float) -> list[tuple[int, int]]:
        """Positions of tracks and of boxes that are the same object."""
        if not len(boxes) or not self._identities:
            return []
        gone = (time - self._seen).astype(np.float32)
        way = self._velocities * gone[:, None]
        expected = (self._boxes.reshape(-1, 2, 2) + way[:, None]).reshape(-1, 4)
        same = self._labels[:, None] == labels
        pairs = greedy(overlaps(expected, boxes) * same, _OVERLAP)
        if len(pairs) in (len(expected), len(boxes)):
            return pairs
        rows = _others([row for row, _ in pairs], len(expected))
        columns = _others([column for _, column in pairs], len(boxes))
        left = same[rows[:, None], columns]
        if left.any():
            growth = np.minimum(_GROWTH + _GROWTH_PER_SECOND * gone[rows], _LARGEST_GROWTH)
            # The boxes that are looked for are as uncertain as the tracks: they grow by the least.
            wide = overlaps(grown(expected[rows], growth), grown(boxes[columns], _GROWTH)) * left
            pairs += [(int(rows[i]), int(columns[j])) for i, j in greedy(wide, _GROWN_OVERLAP)]
        return pairs

    def _move(self, rows: NDArray[np.intp], boxes: Boxes, time: float) -> None:
        seconds = (time - self._seen[rows]).astype(np.float32)[:, None]
        moved = seconds > 0
        way = boxes - self._boxes[rows]
        velocity = (way[:, :2] + way[:, 2:]) / (2 * np.where(moved, seconds, 1))
        before = self._velocities[rows]
        # A track that was seen once has no velocity to keep.
        first = ~before.any(axis=1, keepdims=True)
        kept = np.exp(-seconds / _INERTIA_SECONDS)
        mixed = np.where(first, velocity, kept * before + (1 - kept) * velocity)
        self._velocities[rows] = np.where(moved, mixed, before)
        self._boxes[rows] = boxes
        self._seen[rows] = time

    def _free_shades(self, labels: NDArray[np.int64], seen: set[int]) -> list[int]:
        """A shade for each new object, of which no other object of its class that is seen or waited for has it."""
        taken: dict[int, set[int]] = {}
        for label, identity in zip(self._labels.tolist(), self._identities, strict=True):
            taken.setdefault(label, set()).add(identity.shade)
        shades = []
        for label in labels.tolist():
            own = taken.setdefault(label, set())
            shade = next((k for k in range(SHADES) if k not in own), None)
            if shade is None:
                shade = self._shade_of_lost(label, seen)
            own.add(shade)
            shades.append(shade)
        return shades

    def _shade_of_lost(self, label: int, seen: set[int]) -> int:
        """Forget the object of this class that is gone longest; where all are seen, their shades repeat."""
        lost: list[int] = [i for i in np.flatnonzero(self._labels == label).tolist() if i not in seen]
        if not lost:
            return self._next % SHADES
        longest = min(lost, key=lambda i: float(self._seen[i]))
        seen.add(longest)
        self._seen[longest] = -np.inf
        return self._identities[longest].shade

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        if not kept.all():
            self._identities = [who for who, stays in zip(self._identities, kept.tolist(), strict=True) if stays]
            self._labels, self._boxes = self._labels[kept], self._boxes[kept]
            self._velocities, self._seen = self._velocities[kept], self._seen[kept]

    def _add(self, identities: list[Identity], boxes: Boxes, labels: NDArray[np.int64], time: float) -> None:
        self._identities += identities
        self._labels = np.concatenate((self._labels, labels))
        self._boxes = np.concatenate((self._boxes, boxes))
        self._velocities = np.concatenate((self._velocities, np.zeros((len(boxes), 2), dtype=np.float32)))
        self._seen = np.concatenate((self._seen, np.full(len(boxes), time)))


def _others(some: list[int], count: int) -> NDArray[np.intp]:
    """Of the numbers below ``count`` those that are not among some."""
    others = np.ones(count, dtype=np.bool_)
    others[some] = False
    return np.flatnonzero(others)
