"""RoIAlign over a feature pyramid with fixed shapes and no plugin.

Each box is turned into RoIAlign's sample points on the level that fits its area (:class:`SamplePoints`), and a
*reader* interpolates all points of all levels at once. There are two readers with the same numbers, because the
fastest way to read scattered points differs: :class:`GatherReader` on a CPU (in ONNX Runtime 4 times as fast as
GridSample for 1000 boxes), :class:`GridReader` on a GPU, where it needs a fraction of the memory.

Exact to torchvision's ``MultiScaleRoIAlign`` (``torchvision/csrc/ops/cpu/roi_align_kernel.cpp``,
``aligned=False``). Coordinates are in single precision, whatever the features are. ``docs/roi-align.md`` has a
figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import MultiScaleRoIAlign

Size = tuple[int, int]

GATHERED_VALUES = 2_500_000
"""How many values are gathered at a time. 1000 boxes at once would be 800 MB; 10 MB stay in a CPU's cache, which
is a third faster in a steady state and several times faster on the first frames."""
GATHERED_ON_A_GPU = 50_000_000
"""As that, for a GPU, which wants few operators and has 200 MB to spare."""


class Axis(NamedTuple):
    """Sample points of boxes along one axis of their level."""

    position: Tensor
    """float32 [B, N, S], in cells, clamped to the level: RoIAlign's rule at its border."""
    inside: Tensor
    """bool [B, N, S]; a point that is not is read as zero."""


class Points(NamedTuple):
    """Sample points: the product of the points along both axes."""

    level: Tensor
    """int64 [B, N], index of each box's level."""
    y: Axis
    x: Axis


class Reader(Protocol):
    """Reads sample points from a pyramid."""

    def pack(self, features: Sequence[Tensor]) -> Tensor:
        """Per level float [B, C, h, w] -> one tensor in the reader's own layout."""

    def read(self, pyramid: Tensor, points: Points, ratio: int) -> Tensor:
        """Bilinear interpolation, averaged over ``ratio`` x ``ratio`` points a bin: [B * N, C, P, P]."""


class PyramidRoIAlign(nn.Module):
    """Boxes -> features of one size, each read from the pyramid level that fits the box's area.

    Args:
        pool: the network's own pooler, whose settings are used.
        sizes: height and width of each level's feature map, finest first.
        canvas: height and width in pixels.
        reader: how points are read.
    """

    def __init__(self, pool: MultiScaleRoIAlign, sizes: Sequence[Size], canvas: Size, reader: Reader) -> None:
        super().__init__()
        if pool.sampling_ratio < 1 or pool.output_size[0] != pool.output_size[1]:
            raise ValueError("RoIAlign needs a fixed sampling ratio and a square output")
        self.ratio = pool.sampling_ratio
        self.points = SamplePoints(
            sizes,
            canvas,
            bins=pool.output_size[0],
            ratio=pool.sampling_ratio,
            canonical_scale=pool.canonical_scale,
            canonical_level=pool.canonical_level,
        )
        self.reader = reader

    def forward(self, pyramid: Tensor, boxes: Tensor) -> Tensor:
        """Pool.

        Args:
            pyramid: what the reader's ``pack`` returned.
            boxes: float32 [B, N, 4], x0, y0, x1, y1 in canvas pixels, not negative.

        Returns:
            float [B * N, C, P, P].
        """
        return self.reader.read(pyramid, self.points(boxes), self.ratio)


class SamplePoints(nn.Module):
    """Where RoIAlign samples each box.

    Args:
        sizes: height and width of each level's feature map, finest first.
        canvas: height and width in pixels.
        bins: P, the output is P x P.
        ratio: points along each axis of a bin.
        canonical_scale: s0 of FPN's equation 1, in pixels.
        canonical_level: k0 of it.
    """

    smallest: Tensor
    scales: Tensor
    sizes: Tensor
    steps: Tensor

    def __init__(
        self,
        sizes: Sequence[Size],
        canvas: Size,
        *,
        bins: int,
        ratio: int,
        canonical_scale: int,
        canonical_level: int,
    ) -> None:
        super().__init__()
        self.bins = bins
        # Strides are powers of two, found as torchvision's _infer_scale finds them.
        exponents = [round(math.log2(height / canvas[0])) for height, _ in sizes]
        coarser = -torch.tensor(exponents[1:], dtype=torch.float64)
        # FPN's equation 1: level k from an area's square root of s0 * 2**(k - k0) on; the tiny step down is the
        # eps of torchvision's LevelMapper.
        smallest = canonical_scale * 2.0 ** (coarser - canonical_level - 1e-6)
        steps = (torch.arange(bins * ratio, dtype=torch.float32) + 0.5) / ratio
        self.register_buffer("smallest", smallest.to(torch.float32), persistent=False)
        self.register_buffer("scales", torch.tensor([2.0**e for e in exponents]), persistent=False)
        self.register_buffer("sizes", torch.tensor(sizes, dtype=torch.float32), persistent=False)
        self.register_buffer("steps", steps, persistent=False)

    def forward(self, boxes: Tensor) -> Points:
        """float32 [B, N, 4] in canvas pixels -> sample points."""
        side = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
        length = (side[..., 0] * side[..., 1]).sqrt()
        level = (length[..., None] >= self.smallest).sum(dim=-1)
        scale, size = self.scales[level], self.sizes[level]
        return Points(
            level,
            y=self._along(boxes[..., 1] * scale, boxes[..., 3] * scale, size[..., 0]),
            x=self._along(boxes[..., 0] * scale, boxes[..., 2] * scale, size[..., 1]),
        )

    def _along(self, low: Tensor, high: Tensor, cells: Tensor) -> Axis:
        step = (high - low).clamp(min=1.0) / self.bins
        position = low[..., None] + step[..., None] * self.steps
        # A box thinner than a cell is read as one cell wide and may reach past its level: zero there.
        inside = position <= cells[..., None]
        return Axis(torch.minimum(position.clamp(min=0), cells[..., None] - 1), inside)


class GatherReader(nn.Module):
    """Gathers the cells around all points, then interpolates with two small matrix products.

    A box's points are a grid, so bilinear interpolation and the average over a bin are separable: for each bin a
    weighted sum over rows, then one over columns. Gathering copies whole cells (all channels of a cell lie
    together), which is what a CPU does best.

    Args:
        sizes: height and width of each level's feature map.
        at_once: how many values are gathered at a time; None is what suits a CPU.
    """

    sizes: Tensor
    first: Tensor

    def __init__(self, sizes: Sequence[Size], at_once: int | None = None) -> None:
        super().__init__()
        self.at_once = at_once
        cells = torch.tensor([height * width for height, width in sizes])
        self.cells = int(cells.sum())
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)
        self.register_buffer("first", cells.cumsum(0) - cells, persistent=False)

    def pack(self, features: Sequence[Tensor]) -> Tensor:
        """Per level [B, C, h, w] -> [B * cells, C]."""
        return torch.cat([level.flatten(2) for level in features], dim=2).transpose(1, 2).flatten(0, 1)

    def read(self, pyramid: Tensor, points: Points, ratio: int) -> Tensor:
        """See :class:`Reader`."""
        batch, _, s = points.y.position.shape
        bins, corners, channels = s // ratio, 2 * ratio, pyramid.shape[1]
        size = self.sizes[points.level]
        rows, row_weights = self._corners(points.y, size[..., 0], ratio)
        columns, column_weights = self._corners(points.x, size[..., 1], ratio)
        first = self.first[points.level] + self.cells * torch.arange(batch, device=rows.device)[:, None]
        index = (rows * size[..., 1, None] + first[..., None])[..., :, None] + columns[..., None, :]
        index = index.flatten(0, 1)

        chunk = max(1, (self.at_once or GATHERED_VALUES) // (index.shape[1] * index.shape[2] * channels))
        pooled = []
        for cells, by_row, by_column in zip(
            torch.split(index, chunk),
            torch.split(row_weights, chunk),
            torch.split(column_weights, chunk),
            strict=True,
        ):
            around = pyramid[cells].reshape(-1, bins, corners, bins * corners * channels)
            rows_done = (by_row.to(pyramid.dtype) @ around).reshape(-1, bins, bins, corners, channels)
            pooled.append((by_column[:, None].to(pyramid.dtype) @ rows_done).squeeze(-2))
        return torch.cat(pooled).permute(0, 3, 1, 2)

    @staticmethod
    def _corners(axis: Axis, cells: Tensor, ratio: int) -> tuple[Tensor, Tensor]:
        """Both neighbors of each point, int64 [B, N, 2 S], and their weights, [B * N, P, 1, 2 * ratio]."""
        low = axis.position.floor()
        fraction = axis.position - low
        low = low.to(torch.int64)
        index = torch.stack((low, torch.minimum(low + 1, cells[..., None] - 1)), dim=-1).flatten(-2)
        weight = torch.stack((1 - fraction, fraction), dim=-1) * (axis.inside[..., None] / ratio)
        return index, weight.reshape(weight.shape[0] * weight.shape[1], -1, 1, 2 * ratio)


class GridReader(nn.Module):
    """Reads all points with one GridSample from a map on which the levels lie side by side.

    Points are clamped inside their own level before they are moved to where that level lies.

    Args:
        sizes: height and width of each level's feature map, finest first.
    """

    origins: Tensor

    def __init__(self, sizes: Sequence[Size]) -> None:
        super().__init__()
        (height, width), *others = sizes
        # The finest level at the left, the others stacked to its right: together no taller than the first.
        self.stacked_width = max((w for _, w in others), default=0)
        self.height = max(height, sum(h for h, _ in others))
        self.width = width + self.stacked_width
        tops = [sum(h for h, _ in others[:i]) for i in range(len(others))]
        origins = [(0, 0), *((top, width) for top in tops)]
        self.register_buffer("origins", torch.tensor(origins, dtype=torch.float32), persistent=False)

    def pack(self, features: Sequence[Tensor]) -> Tensor:
        """Per level [B, C, h, w] -> [B, C, height, width]."""
        first, *others = features
        columns = [F.pad(first, (0, 0, 0, self.height - first.shape[2]))]
        if others:
            stack = torch.cat([F.pad(level, (0, self.stacked_width - level.shape[3])) for level in others], dim=2)
            columns.append(F.pad(stack, (0, 0, 0, self.height - stack.shape[2])))
        return torch.cat(columns, dim=3)

    def read(self, pyramid: Tensor, points: Points, ratio: int) -> Tensor:
        """See :class:`Reader`."""
        batch, n, s = points.y.position.shape
        origin = self.origins[points.level]
        y = self._normalized(points.y, origin[..., 0], self.height)[..., :, None].expand(batch, n, s, s)
        x = self._normalized(points.x, origin[..., 1], self.width)[..., None, :].expand(batch, n, s, s)
        grid = torch.stack((x, y), dim=-1).reshape(batch, n * s, s, 2)
        samples = F.grid_sample(pyramid, grid.to(pyramid.dtype), padding_mode="zeros", align_corners=True)
        bins, channels = s // ratio, pyramid.shape[1]
        pooled = F.avg_pool2d(samples, ratio).reshape(batch, channels, n, bins, bins)
        return pooled.transpose(1, 2).flatten(0, 1)

    @staticmethod
    def _normalized(axis: Axis, origin: Tensor, extent: int) -> Tensor:
        on_map = (axis.position + origin[..., None]) * (2.0 / (extent - 1)) - 1.0
        return torch.where(axis.inside, on_map, -3.0)
