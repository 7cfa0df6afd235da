"""Paste and panoptic merge on whole planes, in PyTorch: the way of Detectron2, in its obvious form.

What :mod:`segopt.masks.paste` and :mod:`segopt.merge` are held against. Each instance becomes a plane of the
frame's size (``detectron2/layers/mask_ops.py``, ``paste_masks_in_image``), and the planes are merged one by one
(``detectron2/modeling/meta_arch/panoptic_fpn.py``, ``combine_semantic_and_instance_outputs``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segopt.segment import Segment


def paste_planes(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Lay masks onto a frame, each within its box.

    Args:
        masks: float32 [N, M, M], probability inside the box.
        boxes: float32 [N, 4], x0, y0, x1, y1 in frame pixels.
        size: of the frame, height and width.
        threshold: a pixel belongs to the object from this probability on.

    Returns:
        bool [N, H, W].
    """
    height, width = size
    planes = torch.zeros((len(masks), height, width), dtype=torch.bool, device=masks.device)
    for plane, mask, box in zip(planes, masks, boxes, strict=True):
        x0, y0 = (max(int(side) - 1, 0) for side in box[:2].floor())
        x1, y1 = (min(int(side) + 1, limit) for side, limit in zip(box[2:].ceil(), (width, height), strict=True))
        if x1 <= x0 or y1 <= y0:
            continue
        x, y = (
            (torch.arange(low, high, device=box.device, dtype=torch.float32) + 0.5 - start) / (stop - start) * 2
            - 1
            for low, high, start, stop in ((x0, x1, box[0], box[2]), (y0, y1, box[1], box[3]))
        )
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        values = F.grid_sample(mask[None, None].float(), grid[None], align_corners=False)
        plane[y0:y1, x0:x1] = values[0, 0] >= threshold
    return planes


def merge_planes(
    planes: Tensor,
    scores: Tensor,
    labels: Tensor,
    semantic: Tensor,
    stuff_classes: Mapping[int, int],
    *,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    stuff_area: int = 4096,
) -> tuple[NDArray[np.int32], list[Segment]]:
    """Merge instances and a label map into a panoptic map.

    Args:
        planes: bool [N, H, W].
        scores: float32 [N].
        labels: int [N], category ids.
        semantic: uint8 [H, W].
        stuff_classes: semantic index -> category id.
        score_threshold: lowest score of an instance.
        overlap_threshold: largest taken share of a mask, 0 to 1.
        stuff_area: smallest stuff segment, in pixels.

    Returns:
        As :func:`segopt.merge.merge_panoptic`.
    """
    segment_map = torch.zeros_like(semantic, dtype=torch.int32)
    segments: list[Segment] = []
    for i in torch.argsort(-scores, stable=True).tolist():
        score = float(scores[i])
        if score < np.float32(score_threshold):
            break
        mask = planes[i]
        area = int(mask.sum())
        if area == 0:
            continue
        taken = mask & (segment_map > 0)
        overlap = int(taken.sum())
        if overlap / area > overlap_threshold:
            continue
        if overlap:
            mask = mask & (segment_map == 0)
        if area == overlap:
            continue
        segments.append(Segment(len(segments) + 1, int(labels[i]), True, score, area - overlap))
        segment_map[mask] = segments[-1].id
    indices_of: dict[int, list[int]] = {}
    for index in sorted(stuff_classes):
        indices_of.setdefault(stuff_classes[index], []).append(index)
    for category, indices in indices_of.items():
        mask = semantic == indices[0]
        for index in indices[1:]:
            mask |= semantic == index
        mask &= segment_map == 0
        area = int(mask.sum())
        if area < max(stuff_area, 1):
            continue
        segments.append(Segment(len(segments) + 1, category, False, 1.0, area))
        segment_map[mask] = segments[-1].id
    return segment_map.cpu().numpy(), segments
