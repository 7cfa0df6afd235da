"""Which box of one list is which of another: greedily, by how much they overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""float32 [N, 4]: x0, y0, x1, y1 in pixels."""


def grown(boxes: Boxes, share: NDArray[np.float32] | float) -> Boxes:
    """Boxes that reach farther on each side, by a share of their width and height.

    Args:
        boxes: float32 [N, 4].
        share: of each, float32 [N], or of all.
    """
    more = (boxes[:, 2:] - boxes[:, :2]) * np.asarray(share, dtype=np.float32).reshape(-1, 1)
    return np.concatenate((boxes[:, :2] - more, boxes[:, 2:] + more), axis=1)


def overlaps(one: Boxes, other: Boxes) -> NDArray[np.float32]:
    """Intersection over union of each pair, float32 [N, M]; 0 of boxes without an area."""
    low = np.maximum(one[:, None, :2], other[:, :2])
    high = np.minimum(one[:, None, 2:], other[:, 2:])
    sides = np.maximum(high - low, 0)
    common = sides[..., 0] * sides[..., 1]
    areas = (one[:, 2] - one[:, 0]) * (one[:, 3] - one[:, 1])
    others = (other[:, 2] - other[:, 0]) * (other[:, 3] - other[:, 1])
    return np.asarray(common / np.maximum(areas[:, None] + others - common, np.float32(1e-6)), dtype=np.float32)


def greedy(scores: NDArray[np.float32], lowest: float) -> list[tuple[int, int]]:
    """Pairs (row, column) by descending score, each row and each column once.

    Args:
        scores: float32 [N, M].
        lowest: score that a pair needs.
    """
    rows, columns = np.nonzero(scores >= lowest)
    order = np.argsort(-scores[rows, columns], kind="stable")
    pairs: list[tuple[int, int]] = []
    free_rows, free_columns = set(range(scores.shape[0])), set(range(scores.shape[1]))
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row in free_rows and column in free_columns:
            free_rows.remove(row)
            free_columns.remove(column)
            pairs.append((row, column))
    return pairs
