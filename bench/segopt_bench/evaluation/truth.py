"""Ground truth in memory: which pictures it is for, its classes, and its answer for each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.maps import read_index_map, read_panoptic_ids
from segopt_bench.evaluation.mean_iou import VOID
from segopt_bench.evaluation.panoptic_quality import SegmentLabel, SegmentMap
from segopt_bench.evaluation.problems import LeftOut, LeftOutError

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class PanopticEntry:
    """One annotated picture."""

    image_id: int | str
    file_name: str
    """Of the picture."""
    png: Path
    segments: tuple[SegmentLabel, ...]
    video: int | str | None = None
    """Id of the video that it is a frame of; its segments' ids last through that. None for pictures."""
    time: float | None = None
    """Seconds on the video's clock, where they are known."""


@dataclass(frozen=True)
class PanopticTruth:
    """COCO panoptic ground truth, or predictions in the same form."""

    source: Path
    classes: tuple[TruthClass, ...]
    pictures: Mapping[str, PanopticEntry]
    """By key: the stem of the picture's file name."""
    left_out: tuple[LeftOut, ...] = ()
    """Annotations that cannot be evaluated, with their pictures."""

    def read(self, key: str) -> SegmentMap:
        """The map of one picture.

        Raises:
            LeftOutError: its PNG is missing or damaged.
        """
        entry = self.pictures[key]
        return SegmentMap(read_panoptic_ids(entry.png), entry.segments)


@dataclass(frozen=True)
class InstanceTruth:
    """COCO instances."""

    source: Path
    classes: tuple[TruthClass, ...]
    document: Mapping[str, Any]
    """``images``, ``annotations`` and ``categories``, checked."""
    pictures: Mapping[str, Mapping[str, Any]]
    """Entry in ``images`` by key."""
    has_masks: bool
    """Whether every object has a mask."""
    left_out: tuple[LeftOut, ...] = ()
    """Objects that cannot be evaluated."""


@dataclass(frozen=True)
class SemanticTruth:
    """Label maps: a folder of index PNGs."""

    source: Path
    classes: tuple[TruthClass, ...] | None
    """``id`` is the index; None where the folder does not name them, and they are the engine's own."""
    pictures: Mapping[str, Path]
    """The PNG by key."""
    void: frozenset[int] = frozenset({VOID})
    """Indices that are no class."""

    def read(self, key: str, classes: Sequence[TruthClass]) -> NDArray[np.uint8]:
        """Class indices, uint8 [H, W]; void is 255.

        Args:
            key: of the picture.
            classes: that the map may hold.

        Raises:
            LeftOutError: the PNG is missing or damaged, or has an index that is no class.
        """
        indices = read_index_map(self.pictures[key])
        known = {entry.id for entry in classes}
        present = {int(i) for i in np.unique(indices)}
        if strange := present - known - self.void:
            raise LeftOutError(f"its semantic map has index {min(strange)}, which no class has")
        for index in (present & self.void) - {VOID}:
            indices[indices == index] = VOID
        return indices


@dataclass(frozen=True)
class SemanticOfPanoptic:
    """Label maps that follow from panoptic ground truth: each pixel's category, crowds too."""

    panoptic: PanopticTruth

    @property
    def source(self) -> Path:
        """Where it was read."""
        return self.panoptic.source

    @property
    def classes(self) -> tuple[TruthClass, ...]:
        """The categories, by index."""
        return tuple(
            TruthClass(index, entry.name, entry.is_thing) for index, entry in enumerate(self.panoptic.classes)
        )

    @property
    def pictures(self) -> Mapping[str, PanopticEntry]:
        """The annotated pictures by key."""
        return self.panoptic.pictures

    def read(self, key: str, classes: Sequence[TruthClass]) -> NDArray[np.uint8]:  # noqa: ARG002
        """Class indices, uint8 [H, W]; 255 where there is no segment. Errors as :meth:`PanopticTruth.read`."""
        found = self.panoptic.read(key)
        index = {entry.id: i for i, entry in enumerate(self.panoptic.classes)}
        indices = np.full(found.ids.shape, VOID, dtype=np.uint8)
        segments = {segment.id: index[segment.category_id] for segment in found.segments}
        ids, inverse = np.unique(found.ids, return_inverse=True)
        table = np.array([segments.get(int(i), VOID) for i in ids], dtype=np.uint8)
        indices[...] = table[inverse.reshape(found.ids.shape)]
        return indices
