"""Mask R-CNN with fixed shapes: torchvision's modules, run without any data-dependent shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNN

from segopt_export.networks.panoptic_fpn import PanopticFPN
from segopt_export.networks.parts import Size, feature_sizes, levels_of
from segopt_export.static.detections import DetectionStage
from segopt_export.static.graph import GraphBranch
from segopt_export.static.heads import CellwiseBoxHead, mask_of_label
from segopt_export.static.limits import DetectionLimits, Target
from segopt_export.static.pool import StaticPool
from segopt_export.static.proposals import ProposalStage
from segopt_export.static.suppression import suppress

SUPPRESSION_BLOCKS: dict[Target, int | None] = {"cpu": 500, "tensorrt": None}
"""Boxes that are suppressed at a time: small matrices stay in a CPU's cache, few operators suit a GPU."""
SUPPRESSION_COUNTS: dict[Target, torch.dtype] = {"cpu": torch.float32, "tensorrt": torch.float16}
"""What suppression multiplies zeros and ones in: a GPU reads half as much in half precision, a CPU is slower."""


class StaticMaskRCNN(GraphBranch):
    """A trained Mask R-CNN of torchvision's parts, or that of a Panoptic FPN, as a static graph for one canvas.

    Args:
        model: the network, in eval mode.
        canvas: height and width of the input in pixels, multiples of 32.
        limits: sizes of the graph.
        target: what the graph is made fast for; it runs on both.
        label_ids: what ``labels`` says of each of the network's classes, background first; None are their indices.
    """

    output_names = ("boxes", "scores", "labels", "masks", "converged")
    label_ids: Tensor | None

    def __init__(
        self,
        model: MaskRCNN | PanopticFPN,
        canvas: Size,
        *,
        limits: DetectionLimits = DetectionLimits(),
        target: Target = "cpu",
        label_ids: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        heads = model.roi_heads
        self.backbone = model.backbone
        sizes = feature_sizes(model.backbone, canvas)
        suppress_so = partial(
            suppress,
            steps=limits.suppression_steps,
            block=SUPPRESSION_BLOCKS[target],
            counts=SUPPRESSION_COUNTS[target],
        )
        self.proposals = ProposalStage(model.rpn, canvas, list(sizes.values()), suppress=suppress_so)
        self.box_pool = StaticPool(heads.box_roi_pool, sizes, canvas, target, limits.roi_align)
        self.box_head = heads.box_head
        if type(heads.box_head) is TwoMLPHead:
            self.box_head = CellwiseBoxHead(heads.box_head, heads.box_roi_pool.output_size[0])
        self.box_predictor = heads.box_predictor
        self.detections = DetectionStage(
            heads,
            canvas,
            max_detections=limits.max_detections or heads.detections_per_img,
            candidates=limits.candidates,
            suppress=suppress_so,
        )
        self.mask_pool = StaticPool(heads.mask_roi_pool, sizes, canvas, target, limits.roi_align)
        self.mask_head = heads.mask_head
        self.mask_predictor = mask_of_label(heads.mask_predictor)
        same = label_ids is None or list(label_ids) == list(range(len(label_ids)))
        self.register_buffer("label_ids", None if same else torch.tensor(label_ids), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detect.

        Args:
            image: float32 [B, 3, H, W], RGB, normalized.

        Returns:
            ``boxes`` float32 [B, D, 4], ``scores`` float32 [B, D], ``labels`` int32 [B, D], ``masks`` float32
            [B, D, 28, 28] and ``converged`` int32 [B], as the contract in the README has them.
        """
        return self.detect(levels_of(self.backbone(image)))

    def detect(self, features: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The same from the pyramid's levels by name, float [B, C, h, w]."""
        proposals, valid, proposals_converged = self.proposals(list(features.values()))
        pyramid = self.box_pool.pack(features)

        hidden = self.box_head(self.box_pool(pyramid, proposals))
        logits, deltas = self.box_predictor(hidden)
        boxes, scores, labels, detections_converged = self.detections(logits, deltas, proposals, valid)

        if self.mask_pool.levels != self.box_pool.levels:
            pyramid = self.mask_pool.pack(features)
        masks = self.mask_predictor(self.mask_head(self.mask_pool(pyramid, boxes)), labels.flatten())
        masks = masks.reshape(*labels.shape, *masks.shape[-2:])
        converged = proposals_converged & detections_converged
        if self.label_ids is not None:
            labels = self.label_ids[labels]
        return boxes, scores, labels.to(torch.int32), masks, converged.to(torch.int32)
