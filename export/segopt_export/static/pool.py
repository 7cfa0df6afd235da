"""A detector's pooler with fixed shapes: the levels that it reads, and how boxes are sampled on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign

from segopt_export.networks.adaptive_roi_pool import AdaptiveRoIPool
from segopt_export.networks.parts import pooled_levels
from segopt_export.static.adaptive_roi_align import AdaptiveRoIAlign
from segopt_export.static.limits import RoiAlign, Target
from segopt_export.static.roi_align import (
    GATHERED_ON_A_GPU,
    GatherReader,
    GridReader,
    PyramidRoIAlign,
    Reader,
    Size,
)

READERS: dict[tuple[Target, RoiAlign], Callable[[Sequence[Size]], Reader]] = {
    ("cpu", "gather"): GatherReader,
    ("cpu", "grid"): GridReader,
    ("tensorrt", "gather"): partial(GatherReader, at_once=GATHERED_ON_A_GPU),
    ("tensorrt", "grid"): GridReader,
}
USUAL: dict[Target, RoiAlign] = {"cpu": "gather", "tensorrt": "grid"}


class StaticPool(nn.Module):
    """Boxes -> features of one size.

    Args:
        pool: the trained network's own.
        sizes: height and width of each of the backbone's feature maps.
        canvas: height and width in pixels.
        target: what the graph is made fast for.
        roi_align: how boxes are read; None is what is fast on the target. Adaptive sampling always gathers.
    """

    def __init__(
        self,
        pool: MultiScaleRoIAlign,
        sizes: Mapping[str, Size],
        canvas: Size,
        target: Target,
        roi_align: RoiAlign | None = None,
    ) -> None:
        super().__init__()
        self.levels = pooled_levels(pool, sizes, canvas)
        pooled = [sizes[name] for name in self.levels]
        self.align: nn.Module
        if isinstance(pool, AdaptiveRoIPool):
            self.reader: Reader = GatherReader(pooled)
            self.align = AdaptiveRoIAlign(pool, pooled, canvas)
        else:
            self.reader = READERS[target, roi_align or USUAL[target]](pooled)
            self.align = PyramidRoIAlign(pool, pooled, canvas, self.reader)
        self.gathers_as_it_is = target == "tensorrt" and isinstance(self.reader, GatherReader)

    def pack(self, features: Mapping[str, Tensor]) -> Tensor:
        """Feature maps by name, float [B, C, h, w] -> one tensor in the reader's own layout."""
        packed = self.reader.pack([features[name] for name in self.levels])
        # Sample points need single precision, and TensorRT's GridSample wants features of the points' type. Cells
        # that are gathered may stay as they are: a GPU moves half as much in half precision.
        return packed if self.gathers_as_it_is else packed.to(torch.float32)

    def forward(self, pyramid: Tensor, boxes: Tensor) -> Tensor:
        """What :meth:`pack` returned, and float32 [B, N, 4] in canvas pixels -> float [B * N, C, P, P]."""
        pooled: Tensor = self.align(pyramid, boxes)
        return pooled
