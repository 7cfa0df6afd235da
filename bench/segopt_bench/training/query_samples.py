"""COCO panoptic ground truth as what query networks train on: one mask and one class for each segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from segopt_bench.evaluation.data_folder import Data
from segopt_bench.evaluation.panoptic_quality import SegmentMap
from segopt_bench.training.panoptic_samples import AnnotatedPictures, Draw, resized
from segopt_bench.training.query_losses import Segments

_T = TypeVar("_T", bound=np.generic)
QuerySample = tuple[Tensor, Segments]
"""A picture, uint8 RGB [3, H, W] of the canvas's size, and its segments."""


class QuerySamples(Dataset[QuerySample]):
    """Pictures of a folder with COCO panoptic ground truth on a canvas, mirrored, resized and cut at random.

    That is large-scale jitter (Ghiasi et al., 2021): a picture that is larger than the canvas is cut at a random
    place; beside a smaller one, at the top left, is black.

    Args:
        data: of :func:`segopt_bench.evaluation.open_data`.
        canvas: height and width in pixels.
        scales: smallest and largest scale, which is drawn; at 1 a picture just fits the canvas.

    Raises:
        EvaluationError: the folder has no panoptic ground truth, or no picture of it.
    """

    def __init__(self, data: Data, canvas: tuple[int, int], scales: tuple[float, float]) -> None:
        self.pictures = AnnotatedPictures(data)
        self.things, self.stuff = self.pictures.things, self.pictures.stuff
        self.canvas, self.scales = canvas, scales
        self._index = {entry.id: i for i, entry in enumerate([*self.things, *self.stuff])}

    def __len__(self) -> int:
        return len(self.pictures.keys)

    def __getitem__(self, draw: Draw) -> QuerySample:
        """See the class.

        Raises:
            EvaluationError: the picture or its annotation is missing or damaged.
        """
        random = np.random.default_rng(draw.seed)
        frame, truth = self.pictures.mirrored(draw.index, random)
        ids = truth.ids
        fit = min(whole / side for whole, side in zip(self.canvas, ids.shape, strict=True))
        scale = fit * random.uniform(*self.scales)
        size = tuple(max(1, round(side * scale)) for side in ids.shape)
        frame, ids = resized(frame, ids, (size[0], size[1]))
        top, left = (
            int(random.integers(max(0, side - whole) + 1))
            for side, whole in zip(ids.shape, self.canvas, strict=True)
        )
        part = np.s_[top : top + self.canvas[0], left : left + self.canvas[1]]
        rgb = _on_canvas(frame[part][..., ::-1], self.canvas)
        placed = _on_canvas(ids[part], self.canvas)
        return torch.from_numpy(rgb).permute(2, 0, 1).contiguous(), self.segments(placed, truth)

    def segments(self, ids: NDArray[np.int32], truth: SegmentMap) -> Segments:
        """What is seen of a picture's segments, without crowds, on a map of their ids int32 [H, W]."""
        masks, labels = [], []
        for segment in truth.segments:
            mask = ids == segment.id
            if not segment.is_crowd and mask.any():
                masks.append(mask)
                labels.append(self._index[segment.category_id])
        return Segments(
            torch.tensor(labels, dtype=torch.int64),
            torch.from_numpy(np.array(masks, dtype=np.uint8).reshape(-1, *ids.shape)),
        )


def collated(samples: Sequence[QuerySample]) -> tuple[Tensor, list[Segments]]:
    """Pictures of a batch uint8 [B, 3, H, W], and the segments of each."""
    pictures, segments = zip(*samples, strict=True)
    return torch.stack(pictures), list(segments)


def _on_canvas(part: NDArray[_T], canvas: tuple[int, int]) -> NDArray[_T]:
    """The part at the top left of zeros."""
    whole: NDArray[_T] = np.zeros((*canvas, *part.shape[2:]), dtype=part.dtype)
    whole[: part.shape[0], : part.shape[1]] = part
    return whole
