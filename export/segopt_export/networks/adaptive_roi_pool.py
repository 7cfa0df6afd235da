"""RoIAlign as Detectron2 does it: half-pixel offset, and one sample a cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align

Size = tuple[int, int]


class AdaptiveRoIPool(MultiScaleRoIAlign):  # type: ignore[misc]
    """:class:`torchvision.ops.MultiScaleRoIAlign` with ``aligned=True`` and adaptive sampling.

    A bin that covers 2.3 cells of its level is the mean of 3 x 3 samples (``ROIAlignV2`` with a
    ``POOLER_SAMPLING_RATIO`` of 0; detectron2/modeling/poolers.py).

    Args:
        featmap_names: levels of the pyramid, finest first.
        output_size: bins along each side.
        canonical_scale: s0 of FPN's equation 1, in pixels.
        canonical_level: k0 of it.
        finest_level: k of the first level, the binary logarithm of its stride.
    """

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: int,
        *,
        canonical_scale: int = 224,
        canonical_level: int = 4,
        finest_level: int = 2,
    ) -> None:
        super().__init__(
            list(featmap_names), output_size, 0, canonical_scale=canonical_scale, canonical_level=canonical_level
        )
        self.finest_level = finest_level

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[Size]) -> Tensor:  # noqa: ARG002
        """Pool.

        Args:
            features: by name, float [B, C, h, w].
            boxes: for each picture float [N, 4], x0, y0, x1, y1 in pixels.
            image_shapes: not needed; :class:`torchvision.models.detection.roi_heads.RoIHeads` gives it.

        Returns:
            float [sum of N, C, P, P].
        """
        levels = [features[name] for name in self.featmap_names]
        picture = torch.cat([torch.full_like(b[:, :1], i) for i, b in enumerate(boxes)])
        rois = torch.cat((picture, torch.cat(boxes)), dim=1)
        level = self._level(rois[:, 1:], len(levels))
        pooled = levels[0].new_zeros(len(rois), levels[0].shape[1], *self.output_size)
        for i, feature in enumerate(levels):
            (index,) = torch.where(level == i)
            scale = 2.0 ** -(self.finest_level + i)
            pooled = pooled.index_put(
                (index,), roi_align(feature, rois[index], self.output_size, scale, 0, aligned=True)
            )
        return pooled

    def _level(self, boxes: Tensor, count: int) -> Tensor:
        side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
        length = (side[:, 0] * side[:, 1]).sqrt() / self.canonical_scale
        level = (self.canonical_level + torch.log2(length + 1e-8)).floor() - self.finest_level
        clamped: Tensor = level.clamp(0, count - 1)
        return clamped
