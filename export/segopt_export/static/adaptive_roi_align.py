"""Adaptive RoIAlign with fixed shapes: as many samples a bin as the box is large, and no loop over data.

The same as :class:`segopt_export.networks.adaptive_roi_pool.AdaptiveRoIPool`.

How many samples a bin has depends on its box, but how many cells they touch is bounded: FPN's equation 1 puts a
box on a level where its area is at most that of 28 x 28 cells. Of such a square each of the 7 x 7 bins has 4 x 4
samples on 5 x 5 cells; of a box three times as long as high, 7 x 3 samples on 8 x 4 cells. So every bin reads the
same number of cells, in rows as long as its own box needs, with weights that are the sums of the samples' bilinear
ones. That is exact, and in ONNX Runtime no slower than the fixed 2 x 2 samples of
:mod:`segopt_export.static.roi_align`.

A box so thin that its bins touch more cells than that is read from the next coarser level.
``docs/roi-align.md`` derives all of this, with a figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segopt_export.networks.adaptive_roi_pool import AdaptiveRoIPool

Size = tuple[int, int]

ELONGATION = 9.0
"""Boxes up to this many times as long as wide are exact on every level, whatever their area."""
GATHERED_VALUES = 16_000_000
"""How many values are gathered at a time: 64 MB."""
_NEAR_SAMPLES = 4
"""Samples closer than one cell to a cell: they lie more than half a cell apart."""


class AdaptiveRoIAlign(nn.Module):
    """Boxes -> features of one size, each read from the pyramid level that fits the box's area.

    Args:
        pool: the network's own pooler, whose settings are used.
        sizes: height and width of each level's feature map, finest first.
        canvas: height and width in pixels.
    """

    first: Tensor
    widths: Tensor
    limits: Tensor
    scales: Tensor
    smallest: Tensor
    bins: Tensor
    taps: Tensor

    def __init__(self, pool: AdaptiveRoIPool, sizes: Sequence[Size], canvas: Size) -> None:
        super().__init__()
        self.side = pool.output_size[0]
        self.tap_count = _cells_of_a_bin(self.side, 2 * pool.canonical_scale / 2**pool.canonical_level, sizes[-1])
        cells = torch.tensor([height * width for height, width in sizes])
        scales = [2.0 ** round(math.log2(height / canvas[0])) for height, _ in sizes]
        coarser = torch.tensor([-math.log2(scale) for scale in scales[1:]], dtype=torch.float64)
        smallest = pool.canonical_scale * 2.0 ** (coarser - pool.canonical_level)
        self.cells = int(cells.sum())
        for name, value in {
            "first": (cells.cumsum(0) - cells).to(torch.float32),
            "widths": torch.tensor([float(width) for _, width in sizes]),
            "limits": torch.tensor(sizes, dtype=torch.float32) - 1,
            "scales": torch.tensor(scales),
            "smallest": smallest.to(torch.float32),
            "bins": torch.arange(self.side, dtype=torch.float32),
            "taps": torch.arange(self.tap_count, dtype=torch.float32),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, pyramid: Tensor, boxes: Tensor) -> Tensor:
        """Pool.

        Args:
            pyramid: float [B * cells, C], what :meth:`segopt_export.static.roi_align.GatherReader.pack` returned.
            boxes: float32 [B, N, 4], x0, y0, x1, y1 in canvas pixels, inside the canvas.

        Returns:
            float [B * N, C, P, P].
        """
        index, weight = self._taps(boxes)
        taps, channels = index.shape[-1], pyramid.shape[1]
        chunk = max(1, GATHERED_VALUES // (self.side**2 * taps * channels))
        pooled = [
            (some.to(pyramid.dtype)[..., None, :] @ pyramid[cells]).squeeze(-2)
            for cells, some in zip(torch.split(index, chunk), torch.split(weight, chunk), strict=True)
        ]
        return torch.cat(pooled).permute(0, 3, 1, 2)

    def _taps(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Cells of each bin and their weights: int64 and float32 [B * N, P, P, T]."""
        level = self._level(boxes)
        scale = self.scales[level]
        rows = _Axis(boxes[..., 1] * scale, boxes[..., 3] * scale, self.bins)
        columns = _Axis(boxes[..., 0] * scale, boxes[..., 2] * scale, self.bins)
        # A bin's cells, row by row: tap t is cell (t // n, t % n) where a row has n of them.
        per_row = (columns.samples + 1)[..., None]
        row = ((self.taps + 0.5) / per_row).floor()
        y, by_row = rows.cells(row, self.limits[level][..., 0])
        x, by_column = columns.cells(self.taps - row * per_row, self.limits[level][..., 1])
        by_row = by_row * (row <= rows.samples[..., None])[..., None, :]

        # Indices are exact in single precision up to 2**24 cells.
        width, first = self.widths[level][..., None, None], self.first[level][..., None, None]
        picture = self.cells * torch.arange(boxes.shape[0], device=boxes.device)
        index = (first + y * width)[..., :, None, :] + x[..., None, :, :]
        index = index.to(torch.int64) + picture.reshape(-1, 1, 1, 1, 1)
        weight = by_row[..., :, None, :] * by_column[..., None, :, :]
        return index.flatten(0, 1), weight.flatten(0, 1)

    def _level(self, boxes: Tensor) -> Tensor:
        """int64 [B, N]: the level that fits each box's area, or the first after it that holds its cells."""
        side = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
        by_area = ((side[..., 0] * side[..., 1]).sqrt()[..., None] >= self.smallest).sum(dim=-1)
        samples = _samples(side[..., None, :] * self.scales[:, None], self.side)
        too_many = (samples + 1).prod(dim=-1) > self.tap_count
        return torch.maximum(by_area, too_many[..., :-1].sum(dim=-1))


class _Axis:
    """Samples of boxes along one axis of their level, in cells.

    Args:
        low: float32 [B, N], where the box begins; its cells' centers are at half numbers.
        high: float32 [B, N].
        bins: float32 [P], 0 to P - 1.
    """

    def __init__(self, low: Tensor, high: Tensor, bins: Tensor) -> None:
        # The order of operations is that of torchvision/csrc/ops/cpu/roi_align_kernel.cpp: one rounding more and
        # a box of exactly 14 cells gets other samples.
        start, end = low - 0.5, high - 0.5
        length = end - start
        self.samples = _samples(length, len(bins))
        """float32 [B, N]: of each bin."""
        bin_size = length[..., None] / len(bins)
        self.spacing = (bin_size / self.samples[..., None]).clamp(min=1e-6)
        self.first = start[..., None] + bins * bin_size + 0.5 * self.spacing
        """float32 [B, N, P]: each bin's first sample."""

    def cells(self, offset: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Cells at some offset from each bin's first one, with the share of the bin's mean that they have.

        Args:
            offset: float32 [B, N, T].
            last: float32 [B, N], the level's last cell.

        Returns:
            Position and weight, float32 [B, N, P, T]; the weight of what is beyond the level is 0.
        """
        last = last[..., None, None]
        first = self.first[..., None]
        spacing, samples = self.spacing[..., None], self.samples[..., None, None]
        cell = first.floor().clamp(min=0) + offset[..., None, :]
        # The first sample that is less than a cell below this one.
        nearest = (((cell - 1 - first) / spacing).floor() + 1).clamp(min=0)
        weight = torch.zeros_like(cell)
        for k in range(_NEAR_SAMPLES):
            sample = nearest + k
            position = torch.minimum((first + sample * spacing).clamp(min=0), last)
            share = (1 - (cell - position).abs()).clamp(min=0)
            weight = weight + share * (sample < samples)
        return torch.minimum(cell, last), weight / samples


def _samples(length: Tensor, bins: int) -> Tensor:
    """How many samples a bin of boxes of some length in cells has, at least one."""
    return (length / bins).ceil().clamp(min=1)


def _cells_of_a_bin(bins: int, side: float, coarsest: Size) -> int:
    """Most cells that a bin touches: of any box on the coarsest level, up to ``ELONGATION`` on the others.

    Args:
        bins: along each side of the output.
        side: of the largest square box that equation 1 leaves on a level, in cells.
        coarsest: height and width of the last level in cells.
    """
    steps: list[float] = [ELONGATION ** (0.5 * i / 1000) for i in range(1001)]
    shapes = [coarsest, *((side * step, side / step) for step in steps)]
    return max((math.ceil(a / bins) + 1) * (math.ceil(b / bins) + 1) for a, b in shapes)
