"""Detections with fixed shapes: torchvision's box post-processing without its data-dependent filtering."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads

from segopt_export.networks.box_rules import MIN_SIDE, ClassAgnosticRoIHeads, TwoSidedBoxCoder
from segopt_export.static.boxes import at_least, clip_boxes, decode_boxes, gather_rows
from segopt_export.static.suppression import Suppress


class DetectionStage(nn.Module):
    """Class logits and box offsets of the proposals -> the best detections.

    Args:
        heads: the trained network's RoI heads, whose settings are used.
        canvas: height and width in pixels.
        max_detections: how many slots the answer has.
        candidates: how many (proposal, class) pairs above the score threshold enter suppression.
        suppress: :func:`segopt_export.static.suppression.suppress` with its number of steps.
    """

    def __init__(
        self,
        heads: RoIHeads,
        canvas: tuple[int, int],
        *,
        max_detections: int,
        candidates: int,
        suppress: Suppress,
    ) -> None:
        super().__init__()
        self.canvas = canvas
        self.weights = heads.box_coder.weights
        self.clip = heads.box_coder.bbox_xform_clip
        self.two_sided = isinstance(heads.box_coder, TwoSidedBoxCoder)
        self.class_agnostic = isinstance(heads, ClassAgnosticRoIHeads)
        self.score_threshold = heads.score_thresh
        self.iou_threshold = heads.nms_thresh
        self.max_detections = max_detections
        self.candidates = candidates
        self.suppress = suppress

    def forward(
        self, logits: Tensor, deltas: Tensor, proposals: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Select detections.

        Args:
            logits: float [B * N, C], class 0 is background.
            deltas: float [B * N, 4 * C].
            proposals: float32 [B, N, 4] in canvas pixels.
            valid: bool [B, N], which proposals exist.

        Returns:
            ``boxes`` float32 [B, D, 4], ``scores`` float32 [B, D] descending and -1 in unused slots, ``labels``
            int64 [B, D], and ``converged`` bool [B]: False where the answer may differ from torchvision's, for
            want of suppression steps or of candidates.
        """
        # Scores and boxes are in single precision, whatever the network computes in.
        logits, deltas = logits.to(torch.float32), deltas.to(torch.float32)
        batch, n = proposals.shape[:2]
        classes = logits.shape[-1]
        foreground = classes - 1
        probability = logits.softmax(dim=-1).reshape(batch, n, classes)[..., 1:]
        is_candidate = (probability > self.score_threshold) & valid[..., None]
        ranked = torch.where(is_candidate, probability, -1.0).flatten(1)
        scores, pair = ranked.topk(min(self.candidates, n * foreground), dim=1)

        proposal = torch.div(pair, foreground, rounding_mode="floor")
        label = pair - proposal * foreground + 1
        codes = gather_rows(deltas.reshape(batch, n * classes, 4), proposal * classes + label)
        boxes = decode_boxes(
            codes,
            gather_rows(proposals, proposal),
            weights=self.weights,
            clip=self.clip,
            two_sided=self.two_sided,
        )
        boxes = clip_boxes(boxes, self.canvas)
        keep, converged = self.suppress(
            boxes,
            (scores >= 0) & at_least(boxes, MIN_SIDE),
            groups=None if self.class_agnostic else label,
            iou_threshold=self.iou_threshold,
        )

        kept = torch.where(keep, scores, -1.0)
        best, index = kept.topk(min(self.max_detections, kept.shape[1]), dim=1)
        # What greedy suppression keeps first depends on nothing that ranks below it: candidates beyond the limit
        # matter only where slots are left over.
        nothing_left_out = is_candidate.flatten(1).sum(dim=1) <= self.candidates
        converged = converged & (nothing_left_out | (best[:, -1] >= 0))
        used = best >= 0
        boxes = torch.where(used[..., None], gather_rows(boxes, index), 0.0)
        labels = torch.where(used, label.gather(1, index), 0)
        return boxes, best, labels, converged
