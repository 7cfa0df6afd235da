"""How much of a network's answer is lost, in points: 0 where two runs agree in all, 100 where in nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.agreement import EIGHT_BIT

Arrays = Mapping[str, NDArray[Any]]
"""Outputs of the contract, by name."""

STRONG = 0.5
"""Detections from this score on must be found again."""


def points_lost(
    expected: Sequence[Arrays], found: Sequence[Arrays], *, mask_level: float = 0.5, finely: bool = False
) -> dict[str, float]:
    """What is lost of each part of an answer.

    ``label map``: the share of pixels of another class. ``detections``: the share of strong ones of both sides
    without a match in the other, by the bounds of an INT8 file. ``queries``: the share of pixels that another
    query owns.

    Args:
        expected: outputs for each picture.
        found: the same of the other run.
        mask_level: what a cell of a detection's mask is above where it is of the object.
        finely: whether a match counts by how good it is: the IoU of the boxes, times the share of equal cells of
            the masks, less the difference of the scores. Few pictures then tell much, of moves that cost nothing.

    Returns:
        Points by part. Parts of which there is nothing to compare (no detection of a score of at least
        :data:`STRONG`, no query that was kept) are not in it.
    """
    parts: dict[str, Callable[[Sequence[Arrays], Sequence[Arrays]], float | None]] = {}
    if "semantic" in expected[0]:
        parts["label map"] = _of_maps
    if "boxes" in expected[0]:
        parts["detections"] = partial(_of_detections, mask_level=mask_level, finely=finely)
    if "segments" in expected[0]:
        parts["queries"] = _of_queries
    lost = {name: part(expected, found) for name, part in parts.items()}
    return {name: points for name, points in lost.items() if points is not None}


def _of_maps(expected: Sequence[Arrays], found: Sequence[Arrays]) -> float:
    shares = [float((a["semantic"] != b["semantic"]).mean()) for a, b in zip(expected, found, strict=True)]
    return 100 * float(np.mean(shares))


def _of_detections(
    expected: Sequence[Arrays], found: Sequence[Arrays], *, mask_level: float, finely: bool
) -> float | None:
    qualities: list[float] = []
    for a, b in zip(expected, found, strict=True):
        for i in range(len(a["scores"])):
            table = _alike(a, b, i, mask_level)
            table = table if finely else (table > 0).astype(np.float64)
            for side, matched in ((a, table.max(axis=1, initial=0)), (b, table.max(axis=0, initial=0))):
                qualities += matched[side["scores"][i] >= STRONG].tolist()
    return 100 * (1 - float(np.mean(qualities))) if qualities else None


def _alike(a: Arrays, b: Arrays, i: int, mask_level: float) -> NDArray[np.float64]:
    """How alike each detection of one side and each of the other are, 0 to 1; each has one match at most."""
    table = _iou(a["boxes"][i].astype(np.float64), b["boxes"][i].astype(np.float64))
    table *= a["labels"][i][:, None] == b["labels"][i]
    table *= (a["scores"][i] >= 0)[:, None] & (b["scores"][i] >= 0)
    quality = np.zeros_like(table)
    for row in np.argsort(-a["scores"][i], kind="stable"):
        column = int(table[row].argmax()) if table.shape[1] else 0
        scores = abs(float(a["scores"][i, row]) - float(b["scores"][i, column])) if table.shape[1] else 1.0
        if table.shape[1] and table[row, column] >= EIGHT_BIT.box_iou and scores <= EIGHT_BIT.score:
            cells = (a["masks"][i, row] >= mask_level) == (b["masks"][i, column] >= mask_level)
            quality[row, column] = table[row, column] * float(cells.mean()) * (1 - scores)
            table[:, column] = 0
    return quality


_SLOTS = 128
"""Of queries; one more stands for pixels that no mask has."""


def _of_queries(expected: Sequence[Arrays], found: Sequence[Arrays]) -> float | None:
    shares: list[float] = []
    for a, b in zip(expected, found, strict=True):
        for i in range(len(a["scores"])):
            if not (a["scores"][i] > 0).any() and not (b["scores"][i] > 0).any():
                continue
            owners = [np.minimum(side["segments"][i].astype(np.int64), _SLOTS) for side in (a, b)]
            codes = owners[0] * (_SLOTS + 1) + owners[1]
            shared = np.bincount(codes.ravel(), minlength=(_SLOTS + 1) ** 2).reshape(_SLOTS + 1, -1)
            shared = np.where(_same_class(a, b, i), shared, 0)
            equal = 0
            while (largest := int(shared.max())) > 0:
                equal += largest
                row, column = np.unravel_index(int(shared.argmax()), shared.shape)
                shared[row], shared[:, column] = 0, 0
            shares.append(1 - equal / codes.size)
    return 100 * float(np.mean(shares)) if shares else None


def _same_class(a: Arrays, b: Arrays, i: int) -> NDArray[np.bool_]:
    """Bool [129, 129]: which slots of both are used and of one class; pixels of none go with pixels of none."""
    same = np.zeros((_SLOTS + 1, _SLOTS + 1), bool)
    used = (a["scores"][i] > 0)[:, None] & (b["scores"][i] > 0)
    same[: len(a["labels"][i]), : len(b["labels"][i])] = used & (a["labels"][i][:, None] == b["labels"][i])
    same[_SLOTS, _SLOTS] = True
    return same


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    sizes = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (a, b)]
    return np.asarray(shared / np.maximum(sizes[0][:, None] + sizes[1] - shared, 1e-12))
