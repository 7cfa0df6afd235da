"""Which classes of known data sets are things, where a file names its classes and does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segopt.model.categories import plain_name


@dataclass(frozen=True)
class DataSet:
    """Classes in a fixed order."""

    name: str
    count: int
    landmarks: Mapping[int, str]
    """Index to the beginning of a name: enough of them to know the data set by."""
    stuff: frozenset[int]
    """Indices; all others are things."""

    def has_these(self, names: Sequence[str]) -> bool:
        """Whether these are its classes, in its order."""
        return len(names) == self.count and all(
            plain_name(names[index]).startswith(word) for index, word in self.landmarks.items()
        )


_ADE20K_STUFF = (
    *range(7), 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59, 60, 61, 63, 68, 77, 79, 84,
    91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145,
)  # fmt: skip
"""The 50 of the panoptic form of ADE20K's 150 classes (``ADE20K_150_CATEGORIES`` of Mask2Former)."""

DATA_SETS = (
    DataSet(
        "ADE20K",
        150,
        {0: "wall", 2: "sky", 7: "bed", 12: "person", 20: "car", 76: "boat", 127: "bicycle", 149: "flag"},
        frozenset(_ADE20K_STUFF),
    ),
    DataSet(
        "Cityscapes",
        19,
        {0: "road", 2: "building", 10: "sky", 11: "person", 13: "car", 18: "bicycle"},
        frozenset(range(11)),
    ),
)


def known_data_set(names: Sequence[str]) -> DataSet | None:
    """The data set whose classes these are; None where it is none of :data:`DATA_SETS`."""
    return next((each for each in DATA_SETS if each.has_these(names)), None)
