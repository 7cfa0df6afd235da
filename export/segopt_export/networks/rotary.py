"""Rotary positions of image patches, as DINOv3 has them (Siméoni et al., 2025, section 3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rotation(grid: tuple[int, int], extent: tuple[int, int], width: int, theta: float) -> Tensor:
    """Cosines and sines that turn queries and keys by where their patches are.

    Args:
        grid: patches down and across.
        extent: patches down and across of the square whose sides are -1 to 1; the grid lies at its top left.
        width: of a head, a multiple of 4.
        theta: the slowest of the ``width / 4`` turns a side is ``theta`` times as slow as the fastest.

    Returns:
        float32 [2, patches, width], patches row by row.
    """
    down, across = (
        (torch.arange(count, dtype=torch.float32) + 0.5) / whole * 2 - 1
        for count, whole in zip(grid, extent, strict=True)
    )
    places = torch.stack(torch.meshgrid(down, across, indexing="ij"), dim=-1).flatten(0, 1)
    turns = theta ** -(torch.arange(width // 4, dtype=torch.float32) * 4 / width)
    angles = (2 * math.pi * places[:, :, None] * turns).flatten(1).tile(2)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(tokens: Tensor, by: Tensor) -> Tensor:
    """Turn the patches among the tokens, which come last.

    Args:
        tokens: [B, heads, tokens, width].
        by: of :func:`rotation`.
    """
    count = by.shape[1]
    others, patches = tokens[:, :, :-count], tokens[:, :, -count:]
    one, other = patches.chunk(2, dim=-1)
    # In single precision, whatever the product with the weights was in.
    turned = patches * by[0] + torch.cat([-other, one], dim=-1) * by[1]
    return torch.cat([others, turned.to(tokens.dtype)], dim=2)
