"""Greedy non-maximum suppression as a fixed number of matrix products.

No backend needs an NMS operator, no shape depends on data, and one batched operation serves all levels of a
feature pyramid. With boxes sorted by descending score let ``M[i, j]`` be 1 where ``i < j``, ``i`` is valid, both
are of one group and their IoU exceeds the threshold. ``keep`` is greedy suppression's answer exactly when
``keep = valid and not (keep @ M)``; since M is strictly upper triangular there is one such ``keep``. Starting
from all valid boxes, step ``t`` settles every box whose chain of suppressions is at most ``t`` long: 4 to 11 for
proposals of real networks.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def suppress(
    boxes: Tensor,
    valid: Tensor,
    *,
    iou_threshold: float,
    steps: int,
    groups: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression of boxes that are already sorted by descending score.

    Args:
        boxes: float32 [..., N, 4], x0, y0, x1, y1.
        valid: bool [..., N]; False marks padding, which neither stays nor suppresses.
        iou_threshold: a box goes when its IoU with one that stays is above this.
        steps: how many steps to unroll; one more is used to see whether they were enough.
        groups: [..., N], boxes of different groups leave each other alone; None is one group.

    Returns:
        ``keep`` bool [..., N], and ``converged`` bool [...]: True where ``keep`` is exactly what greedy
        suppression (``torchvision.ops.nms``) keeps.
    """
    rivals = _iou_above(boxes, iou_threshold)
    if groups is not None:
        rivals = rivals & (groups[..., :, None] == groups[..., None, :])
    n = boxes.shape[-2]
    earlier = torch.ones(n, n, dtype=torch.bool, device=boxes.device).triu(diagonal=1)
    suppresses = (rivals & earlier).to(boxes.dtype)

    keep = valid.to(boxes.dtype)
    previous = keep
    for _ in range(steps + 1):
        previous = keep
        pressure = (keep[..., None, :] @ suppresses).squeeze(-2)
        keep = (valid & (pressure < 0.5)).to(boxes.dtype)
    converged = ((keep - previous).abs().sum(dim=-1)) < 0.5
    return previous > 0.5, converged


def _iou_above(boxes: Tensor, threshold: float) -> Tensor:
    """bool [..., N, N]: whether the IoU of two boxes is above the threshold."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    area = (x1 - x0) * (y1 - y0)
    width = torch.minimum(x1[..., :, None], x1[..., None, :]) - torch.maximum(x0[..., :, None], x0[..., None, :])
    height = torch.minimum(y1[..., :, None], y1[..., None, :]) - torch.maximum(y0[..., :, None], y0[..., None, :])
    # Where only the height is negative the quotient is, too, and above no threshold: one clamp is enough.
    intersection = width.clamp(min=0) * height
    # The same single-precision quotient as torchvision/csrc/ops/cpu/nms_kernel.cpp; two empty boxes give 0 / 0,
    # which is above nothing in either.
    union = area[..., :, None] + area[..., None, :] - intersection
    return intersection / union > float32_floor(threshold)


def float32_floor(threshold: float) -> float:
    """The largest float32 that is not above a threshold.

    torchvision compares a float32 IoU with a double threshold; ``0.7`` lies between two float32 values, and
    rounding it up would let an IoU of exactly that value pass.
    """
    nearest = np.float32(threshold)
    if float(nearest) > threshold:
        nearest = np.nextafter(nearest, np.float32(-math.inf))
    return float(nearest)
