"""Greedy non-maximum suppression as a fixed number of matrix products.

No backend needs an NMS operator, no shape depends on data, and one batched operation serves all levels of a
feature pyramid. With boxes sorted by descending score let ``M[i, j]`` be 1 where ``i < j``, ``i`` is valid, both
are of one group and their IoU exceeds the threshold. ``keep`` is greedy suppression's answer exactly when
``keep = valid and not (keep @ M)``; since M is strictly upper triangular there is one such ``keep``. Starting
from all valid boxes, step ``t`` settles every box whose chain of suppressions is at most ``t`` long: 4 to 11 for
proposals of real networks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from segopt_export.rounding import float32_floor

Suppress = Callable[..., tuple[Tensor, Tensor]]
"""As :func:`suppress`, how to go about it decided."""


def suppress(
    boxes: Tensor,
    valid: Tensor,
    *,
    iou_threshold: float,
    steps: int,
    groups: Tensor | None = None,
    block: int | None = None,
    counts: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression of boxes that are already sorted by descending score.

    Args:
        boxes: float32 [..., N, 4], x0, y0, x1, y1.
        valid: bool [..., N]; False marks padding, which neither stays nor suppresses.
        iou_threshold: a box goes when its IoU with one that stays is above this.
        steps: how many steps to unroll; one more is used to see whether they were enough.
        groups: [..., N], boxes of different groups leave each other alone; None is one group.
        block: suppress this many boxes at a time, each block under what the ones before it keep: the same answer
            from smaller matrices, of which no box is compared with earlier ones. None is all at once.
        counts: type of the zeros and ones that are multiplied. Half precision gives the same answer: a sum of ones
            is exact up to 2048, and beyond that still no less than one, which is all that is asked of it.

    Returns:
        ``keep`` bool [..., N], and ``converged`` bool [...]: True where ``keep`` is exactly what greedy
        suppression (``torchvision.ops.nms``) keeps.
    """
    n = boxes.shape[-2]
    block = block or n
    # Zeros and ones as numbers throughout: a box stays while nothing presses on it, max(0, 1 - pressure).
    open_to_all = valid.to(counts)[..., None, :]
    order = torch.arange(n, dtype=torch.int32, device=boxes.device)
    kept, converged = [], []
    for start in range(0, n, block):
        size = min(block, n - start)
        rivals = _iou_above(boxes[..., start : start + size, :], boxes[..., start:, :], iou_threshold)
        if groups is not None:
            rivals = rivals & (groups[..., start : start + size, None] == groups[..., None, start:])
        # No triu: TensorRT's parser of 10.1 makes products of bools from its Trilu, which TensorRT refuses.
        earlier = order[:size, None] < order[None, : n - start]
        suppresses = (rivals & earlier).to(counts)
        within, later = suppresses[..., :size], suppresses[..., size:]

        candidates, open_to_all = open_to_all[..., :size], open_to_all[..., size:]
        keep = candidates
        previous = keep
        for _ in range(steps + 1):
            previous = keep
            keep = (candidates - keep @ within).relu()
        kept.append(previous)
        converged.append((keep - previous).abs().sum(dim=(-2, -1)) < 0.5)
        if start + size < n:
            open_to_all = (open_to_all - previous @ later).relu()
    return torch.cat(kept, dim=-1).squeeze(-2) > 0.5, torch.stack(converged).all(dim=0)


def _iou_above(boxes: Tensor, others: Tensor, threshold: float) -> Tensor:
    """bool [..., N, M]: whether the IoU of two boxes, of [..., N, 4] and [..., M, 4], is above the threshold."""
    x0, y0, x1, y1 = (side[..., :, None] for side in boxes.unbind(-1))
    u0, v0, u1, v1 = (side[..., None, :] for side in others.unbind(-1))
    width = torch.minimum(x1, u1) - torch.maximum(x0, u0)
    height = torch.minimum(y1, v1) - torch.maximum(y0, v0)
    # Where only the height is negative the quotient is, too, and above no threshold: one clamp is enough.
    intersection = width.clamp(min=0) * height
    # The same single-precision quotient as torchvision/csrc/ops/cpu/nms_kernel.cpp; two empty boxes give 0 / 0,
    # which is above nothing in either.
    union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - intersection
    return intersection / union > float32_floor(threshold)
