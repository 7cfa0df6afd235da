"""Greedy non-maximum suppression as nodes: :mod:`segopt_export.static.suppression` without PyTorch.

A box stays while no better one of its class that stays overlaps it too much. That is a fixed point of
``keep = relu(valid - keep @ M)``, where ``M[i, j]`` is 1 if box i is better than box j, of its class, and overlaps
it by more than the threshold; a fixed number of steps reaches it, and one more tells whether they were enough.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from segopt_export.rounding import float32_floor
from segopt_export.wrapping.parts import Part


def suppress(
    part: Part, boxes: str, valid: str, labels: str, *, shape: tuple[int, int], iou: float, steps: int
) -> tuple[str, str]:
    """Add suppression of boxes that are sorted by descending score.

    Args:
        part: that it is added to.
        boxes: float [B, N, 4], x0, y0, x1, y1.
        valid: bool [B, N]; what is not neither stays nor suppresses.
        labels: int64 [B, N]; boxes of different ones leave each other alone.
        shape: B and N.
        iou: a box goes when its IoU with one that stays is above this.
        steps: how many steps to unroll.

    Returns:
        ``keep`` bool [B, N] and ``converged`` bool [B], whether it is exactly what greedy suppression keeps.
    """
    batch, count = shape
    x0, y0, x1, y1 = (part.columns(boxes, side, side + 1) for side in range(4))
    u0, v0, u1, v1 = (part.add("Transpose", side, perm=[0, 2, 1]) for side in (x0, y0, x1, y1))
    width = part.add("Relu", part.add("Sub", part.add("Min", x1, u1), part.add("Max", x0, u0)))
    height = part.add("Relu", part.add("Sub", part.add("Min", y1, v1), part.add("Max", y0, v0)))
    shared = part.add("Mul", width, height)
    area = part.add("Mul", part.add("Sub", x1, x0), part.add("Sub", y1, y0))
    others = part.add("Transpose", area, perm=[0, 2, 1])
    union = part.add("Sub", part.add("Add", area, others), shared)
    overlap = part.add("Greater", part.add("Div", shared, union), np.array(float32_floor(iou), np.float32))
    own = part.reshape(labels, [batch, count, 1])
    alike = part.add("Equal", own, part.reshape(labels, [batch, 1, count]))
    order = np.arange(count, dtype=np.int32)
    better = part.add("Less", order[None, :, None], order[None, None, :])
    rivals = part.add("And", part.add("And", overlap, alike), better)
    presses = part.cast(rivals, TensorProto.FLOAT)
    candidates = part.reshape(part.cast(valid, TensorProto.FLOAT), [batch, 1, count])
    keep = before = candidates
    for _ in range(steps + 1):
        before = keep
        keep = part.add("Relu", part.add("Sub", candidates, part.add("MatMul", keep, presses)))
    changes = part.add("Abs", part.add("Sub", keep, before))
    changed = part.add("ReduceSum", changes, np.array([1, 2], np.int64), keepdims=0)
    stays = part.add("Greater", part.reshape(before, [batch, count]), np.array(0.5, np.float32))
    return stays, part.add("Less", changed, np.array(0.5, np.float32))
