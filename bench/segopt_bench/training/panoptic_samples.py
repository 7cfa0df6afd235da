"""COCO panoptic ground truth as what Panoptic FPN trains on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segopt.draw.palette import class_colors
from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.data_folder import Data
from segopt_bench.evaluation.panoptic_quality import SegmentMap
from segopt_bench.evaluation.problems import EvaluationError, LeftOutError
from segopt_export.networks.panoptic_fpn import IGNORED

Sample = tuple[Tensor, dict[str, Tensor]]
"""A picture and its targets, as :meth:`segopt_export.networks.panoptic_fpn.PanopticFPN.forward` takes them."""


@dataclass(frozen=True)
class Draw:
    """Which picture, and the seed of its mirroring and size."""

    index: int
    seed: int


class AnnotatedPictures:
    """Pictures of a folder with COCO panoptic ground truth.

    Args:
        data: of :func:`segopt_bench.evaluation.open_data`.

    Raises:
        EvaluationError: the folder has no panoptic ground truth, or no picture of it.
    """

    def __init__(self, data: Data) -> None:
        if data.panoptic is None:
            raise EvaluationError(f"{data.source}: has no COCO panoptic ground truth; see `segopt eval --help`")
        self.truth = data.panoptic
        self.paths = data.images
        self.keys = [key for key in self.truth.pictures if key in self.paths]
        if not self.keys:
            raise EvaluationError(f"{data.source}: has none of the pictures that {self.truth.source.name} is for")
        self.things = [entry for entry in self.truth.classes if entry.is_thing]
        self.stuff = [entry for entry in self.truth.classes if not entry.is_thing]

    def read(self, index: int) -> tuple[NDArray[np.uint8], SegmentMap]:
        """One picture, uint8 BGR [H, W, 3], and its segments.

        Raises:
            EvaluationError: the picture or its annotation is missing or damaged.
        """
        key = self.keys[index]
        frame = cv2.imread(str(self.paths[key]), cv2.IMREAD_COLOR)
        if frame is None:
            raise EvaluationError(f"{self.paths[key]}: is damaged or no picture; leave it out")
        try:
            truth = self.truth.read(key)
        except LeftOutError as error:
            raise EvaluationError(f"{self.paths[key]}: {error}; leave it out") from None
        if truth.ids.shape != frame.shape[:2]:
            raise EvaluationError(f"{self.paths[key]}: is {frame.shape[:2]}, its annotation {truth.ids.shape}")
        return frame.astype(np.uint8, copy=False), truth

    def mirrored(self, index: int, random: np.random.Generator) -> tuple[NDArray[np.uint8], SegmentMap]:
        """The same; one of two is turned over, left to right. Raises as :meth:`read`."""
        frame, truth = self.read(index)
        if random.random() < 0.5:
            return frame[:, ::-1], replace(truth, ids=truth.ids[:, ::-1])
        return frame, truth


def resized(
    frame: NDArray[np.uint8], ids: NDArray[np.int32], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """A picture and its ids in another size, height and width in pixels."""
    height, width = size
    picture = cv2.resize(np.ascontiguousarray(frame), (width, height), interpolation=cv2.INTER_LINEAR)
    # OpenCV resizes no whole numbers of 32 bits; a double holds them.
    exact = np.ascontiguousarray(ids).astype(np.float64)
    nearest = cv2.resize(exact, (width, height), interpolation=cv2.INTER_NEAREST)
    return picture.astype(np.uint8, copy=False), nearest.astype(np.int32)


class PanopticSamples(Dataset[Sample]):
    """Pictures of a folder with COCO panoptic ground truth, mirrored and resized at random.

    Args:
        data: of :func:`segopt_bench.evaluation.open_data`.
        short_sides: lengths of the short side, in pixels, one of which is drawn.
        longest: largest long side, in pixels.

    Raises:
        EvaluationError: the folder has no panoptic ground truth, or no picture of it.
    """

    def __init__(self, data: Data, short_sides: Sequence[int], longest: int) -> None:
        self.pictures = AnnotatedPictures(data)
        self.things, self.stuff = self.pictures.things, self.pictures.stuff
        self.short_sides = list(short_sides)
        self.longest = longest

    def __len__(self) -> int:
        return len(self.pictures.keys)

    def __getitem__(self, draw: Draw) -> Sample:
        """See the class.

        Raises:
            EvaluationError: the picture or its annotation is missing or damaged.
        """
        random = np.random.default_rng(draw.seed)
        frame, truth = self.pictures.mirrored(draw.index, random)
        size = self._size(frame.shape[:2], int(random.choice(self.short_sides)))
        frame, ids = resized(frame, truth.ids, size)
        rgb = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1])).permute(2, 0, 1) / 255
        return rgb, targets_of(SegmentMap(ids, truth.segments), self.things, self.stuff)

    def _size(self, size: tuple[int, int], short: int) -> tuple[int, int]:
        scale = min(short / min(size), self.longest / max(size))
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def targets_of(truth: SegmentMap, things: Sequence[TruthClass], stuff: Sequence[TruthClass]) -> dict[str, Tensor]:
    """Targets of one picture.

    Args:
        truth: its segments.
        things: classes of the detector, whose labels are 1, 2, ... in this order.
        stuff: classes of the semantic head after "things", 0.
    """
    labels = {entry.id: i for i, entry in enumerate(things, start=1)}
    indices = {entry.id: i for i, entry in enumerate(stuff, start=1)}
    semantic = np.full(truth.ids.shape, IGNORED, dtype=np.int64)
    found: dict[str, list[Any]] = {"boxes": [], "labels": [], "masks": []}
    for segment in truth.segments:
        mask = truth.ids == segment.id
        semantic[mask] = indices.get(segment.category_id, 0)
        label = labels.get(segment.category_id)
        if label is None or segment.is_crowd or not mask.any():
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        found["boxes"].append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        found["labels"].append(label)
        found["masks"].append(mask)
    return {
        "boxes": torch.tensor(np.array(found["boxes"], dtype=np.float32).reshape(-1, 4)),
        "labels": torch.tensor(found["labels"], dtype=torch.int64),
        "masks": torch.from_numpy(np.array(found["masks"], dtype=np.uint8).reshape(-1, *truth.ids.shape)),
        "semantic": torch.from_numpy(semantic),
    }


def categories_of(classes: Sequence[TruthClass]) -> list[dict[str, Any]]:
    """Classes as COCO lists its categories, in colors of their own."""
    return [
        {"id": entry.id, "name": entry.name, "isthing": int(entry.is_thing), "color": list(color)}
        for entry, color in zip(classes, class_colors(len(classes)), strict=True)
    ]


def draws(pictures: int, batch: int, first: int, last: int, seed: int) -> Iterator[list[Draw]]:
    """Batches of steps ``first`` to ``last``, each picture once an epoch: the same whatever the first step is."""
    epoch, order = -1, np.empty(0, dtype=np.int64)
    for step in range(first, last):
        batch_draws = []
        for number in range(step * batch, (step + 1) * batch):
            if number // pictures != epoch:
                epoch = number // pictures
                order = np.random.default_rng((seed, epoch)).permutation(pictures)
            batch_draws.append(Draw(int(order[number % pictures]), seed * 1_000_003 + number))
        yield batch_draws


def batches(samples: Dataset[Any], drawn: Iterable[list[Draw]], workers: int) -> Iterator[list[Any]]:
    """Samples of each batch, which processes load ahead.

    Args:
        samples: whose items are asked for by a :class:`Draw`.
        drawn: of :func:`draws`.
        workers: processes; 0 loads in this one.

    Raises:
        EvaluationError: a picture or its annotation is missing or damaged.
    """
    loader: DataLoader[Any] = DataLoader(
        _ErrorsAsItems(samples), batch_sampler=drawn, num_workers=workers, collate_fn=list
    )
    for batch in loader:
        for item in batch:
            if isinstance(item, EvaluationError):
                raise item
        yield batch


class _ErrorsAsItems(Dataset[Any]):
    """Hands on what was wrong: DataLoader would make a traceback of many lines of it."""

    def __init__(self, samples: Dataset[Any]) -> None:
        self.samples = samples

    def __getitem__(self, draw: Draw) -> Any:
        try:
            return self.samples[draw]
        except EvaluationError as error:
            return error
