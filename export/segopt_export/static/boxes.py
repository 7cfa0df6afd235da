"""Box arithmetic of torchvision's detectors, on tensors of fixed shape, in single precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def decode_boxes(
    deltas: Tensor, reference: Tensor, *, weights: Sequence[float], clip: float, two_sided: bool = False
) -> Tensor:
    """Apply predicted offsets to reference boxes.

    Args:
        deltas: float32 [..., 4], dx, dy, dw, dh.
        reference: float32 [..., 4], anchors or proposals: x0, y0, x1, y1 in pixels.
        weights: the four divisors that training used.
        clip: largest dw and dh before the exponential.
        two_sided: whether ``-clip`` is the smallest.

    Returns:
        float32 [..., 4], x0, y0, x1, y1 in pixels; see ``BoxCoder.decode_single`` in
        torchvision/models/detection/_utils.py.
    """
    size = reference[..., 2:] - reference[..., :2]
    center = reference[..., :2] + 0.5 * size
    shift = deltas[..., :2] / torch.tensor(weights[:2], dtype=deltas.dtype, device=deltas.device)
    scale = deltas[..., 2:] / torch.tensor(weights[2:], dtype=deltas.dtype, device=deltas.device)
    new_center = shift * size + center
    half = 0.5 * (torch.exp(scale.clamp(min=-clip if two_sided else None, max=clip)) * size)
    return torch.cat((new_center - half, new_center + half), dim=-1)


def clip_boxes(boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Boxes [..., 4] cut to a canvas of (height, width) pixels."""
    height, width = canvas
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(boxes.clamp(min=0), limit)


def at_least(boxes: Tensor, side: float) -> Tensor:
    """bool [...]: whether both sides of boxes [..., 4] have at least this length in pixels."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= side).all(dim=-1)


def gather_rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of ``table`` [B, N, C] at ``index`` int64 [B, K]: [B, K, C]."""
    return table.gather(1, index[..., None].expand(-1, -1, table.shape[-1]))
