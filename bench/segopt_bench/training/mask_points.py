"""Masks at points: where losses look at them, and what they have there.

Losses of whole masks would take the memory of all of their pixels; at points, of which most are where a mask is
unsure (Kirillov et al., "PointRend", 2020, section 4.1), they are as good.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def at_points(masks: Tensor, points: Tensor) -> Tensor:
    """Values of masks at points, bilinear, 0 beside the masks.

    Args:
        masks: float32 [N, h, w].
        points: float32 [N, P, 2], x and y from 0 to 1 over the masks' sides; [1, P, 2] for all alike.

    Returns:
        float32 [N, P].
    """
    grid = (2 * points - 1)[:, :, None]
    if len(points) == 1:
        # One picture of N channels: its points are worked out once.
        return F.grid_sample(masks[None], grid, align_corners=False)[0, :, :, 0]
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0, :, 0]


def unsure_points(
    logits: Tensor, count: int, *, oversampling: float, share: float, generator: torch.Generator | None = None
) -> Tensor:
    """Points of which a share is where masks are least sure, the rest anywhere.

    Args:
        logits: of the masks, float32 [N, h, w].
        count: points of each mask.
        oversampling: so many times as many are drawn to choose from.
        share: of the points that are chosen, 0 to 1.
        generator: of the points; None is torch's own.

    Returns:
        float32 [N, count, 2], as :func:`at_points` takes them.
    """
    masks, chosen = len(logits), int(share * count)
    drawn = _random(masks, int(count * oversampling), logits, generator)
    unsureness = -at_points(logits, drawn).abs()
    best = unsureness.topk(chosen, dim=1).indices
    points = drawn.gather(1, best[..., None].expand(-1, -1, 2))
    return torch.cat([points, _random(masks, count - chosen, logits, generator)], dim=1)


def random_points(count: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Points anywhere, the same for all masks: float32 [1, count, 2] on the device of ``like``."""
    return _random(1, count, like, generator)


def _random(masks: int, count: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(masks, count, 2, device=like.device, generator=generator)
