"""Mean intersection over union of label maps, and pixel accuracy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.scores import Figures, mean

VOID = 255
"""Index of pixels that nobody annotated, as in Pascal VOC."""


class MeanIoU:
    """Counts pixels over pictures.

    The IoU of a class is taken over all pictures at once; the mean is over the classes that occur in the ground
    truth or in an answer. Void pixels are not looked at. An answer that is none of the ground truth's classes is
    wrong for the pixel's class and no other.

    Args:
        classes: of the ground truth; ``id`` is the index in its maps.
        to_truth: an engine's index to the ground truth's.
    """

    def __init__(self, classes: Sequence[TruthClass], to_truth: Mapping[int, int]) -> None:
        self.classes = tuple(classes)
        self._row = {entry.id: i for i, entry in enumerate(self.classes)}
        size = len(self.classes)
        self.confusion = np.zeros((size, size + 1), dtype=np.int64)
        """int64 [C, C + 1]: pixels by true class and answer; the last column is any other answer."""
        self._row_of_truth = np.full(256, -1, dtype=np.int64)
        self._row_of_truth[list(self._row)] = list(self._row.values())
        self._row_of_found = np.full(256, size, dtype=np.int64)
        for found, true in to_truth.items():
            self._row_of_found[found] = self._row[true]

    def add(self, truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> None:
        """Count one picture.

        Args:
            truth: uint8 [H, W]; what is no class is void.
            found: uint8 [H, W], the engine's indices.

        Raises:
            ValueError: the maps differ in size.
        """
        if truth.shape != found.shape:
            raise ValueError(f"the maps differ in size: {truth.shape} and {found.shape}")
        pairs = np.bincount((truth.astype(np.int64) << 8 | found).ravel(), minlength=1 << 16).reshape(256, 256)
        true, answer = np.nonzero(pairs)
        rows, counts = self._row_of_truth[true], pairs[true, answer]
        known = rows >= 0
        np.add.at(self.confusion, (rows[known], self._row_of_found[answer[known]]), counts[known])

    def of_class(self, class_id: int) -> Figures:
        """``IoU`` and ``accuracy`` (share of its pixels that are right); None where it does not occur."""
        i = self._row[class_id]
        right, true, found = (int(n) for n in (self.confusion[i, i], self.confusion[i].sum(), self._answers(i)))
        union = true + found - right
        return {"IoU": right / union if union else None, "accuracy": right / true if true else None}

    def mean_of(self, class_ids: Collection[int]) -> Figures:
        """``mIoU`` of some classes, and ``pixel accuracy`` over the pixels that are truly of them."""
        values = [self.of_class(class_id)["IoU"] for class_id in class_ids]
        rows = [self._row[class_id] for class_id in class_ids]
        pixels = int(self.confusion[rows].sum())
        right = int(self.confusion[rows, rows].sum())
        return {
            "mIoU": mean([value for value in values if value is not None]),
            "pixel accuracy": right / pixels if pixels else None,
        }

    def _answers(self, row: int) -> int:
        return int(self.confusion[:, row].sum())
