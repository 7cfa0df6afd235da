"""Panoptic FPN as a static graph: one backbone, computed once."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from segopt_export.networks.panoptic_fpn import PanopticFPN
from segopt_export.networks.semantic_head import upsample_logits
from segopt_export.static.graph import GraphBranch, LabelMap
from segopt_export.static.limits import DetectionLimits, Target
from segopt_export.static.maskrcnn import StaticMaskRCNN
from segopt_export.static.roi_align import Size


class StaticPanopticFPN(GraphBranch):
    """A trained :class:`segopt_export.networks.panoptic_fpn.PanopticFPN` for one canvas.

    Args:
        model: the network, in eval mode.
        canvas: height and width of the input in pixels, multiples of 32.
        limits: sizes of the graph.
        target: what the graph is made fast for; it runs on both.
        label_ids: see :class:`segopt_export.static.maskrcnn.StaticMaskRCNN`.
    """

    output_names = ("semantic", *StaticMaskRCNN.output_names)

    def __init__(
        self,
        model: PanopticFPN,
        canvas: Size,
        *,
        limits: DetectionLimits,
        target: Target,
        label_ids: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.detector = StaticMaskRCNN(model, canvas, limits=limits, target=target, label_ids=label_ids)
        self.semantic_head = model.semantic_head
        self.label_map = LabelMap()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """float32 [B, 3, H, W], RGB, normalized -> ``semantic`` uint8 [B, H, W], and the detector's outputs."""
        features = self.detector.backbone(image)
        semantic = self.label_map(upsample_logits(self.semantic_head(features)))
        return semantic, *self.detector.detect(features)
