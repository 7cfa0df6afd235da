"""Region proposals with fixed shapes: torchvision's RPN without its data-dependent filtering."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork

from segopt_export.networks.box_rules import TwoSidedBoxCoder
from segopt_export.static.boxes import at_least, clip_boxes, decode_boxes, gather_rows
from segopt_export.static.suppression import Suppress


class ProposalStage(nn.Module):
    """Features of a pyramid -> proposals.

    Per level the best anchors by objectness are decoded, clipped to the canvas and suppressed among themselves;
    the best of all levels together are the proposals (``RegionProposalNetwork.filter_proposals``). Every level is
    padded to the same number of anchors, so that suppression is one batched operation.

    Args:
        rpn: the trained network's RPN; its head and its settings are used.
        canvas: height and width in pixels.
        feature_sizes: height and width of each level's feature map.
        suppress: :func:`segopt_export.static.suppression.suppress` with its number of steps.
    """

    is_anchor: Tensor

    def __init__(
        self,
        rpn: RegionProposalNetwork,
        canvas: tuple[int, int],
        feature_sizes: Sequence[tuple[int, int]],
        *,
        suppress: Suppress,
    ) -> None:
        super().__init__()
        self.head = rpn.head
        self.canvas = canvas
        self.suppress = suppress
        self.weights = rpn.box_coder.weights
        self.clip = rpn.box_coder.bbox_xform_clip
        self.two_sided = isinstance(rpn.box_coder, TwoSidedBoxCoder)
        self.iou_threshold = rpn.nms_thresh
        self.score_threshold = rpn.score_thresh
        self.min_side = rpn.min_size
        anchors = _anchors_per_level(rpn, canvas, feature_sizes)
        self.taken = [min(rpn.pre_nms_top_n(), len(level)) for level in anchors]
        self.count = min(rpn.post_nms_top_n(), sum(self.taken))
        for i, level in enumerate(anchors):
            self.register_buffer(f"anchors_{i}", level, persistent=False)
        slots = torch.arange(max(self.taken))
        self.register_buffer("is_anchor", slots < torch.tensor(self.taken)[:, None], persistent=False)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Propose regions.

        Args:
            features: per level float [B, C, h, w].

        Returns:
            ``proposals`` float32 [B, N, 4] in canvas pixels by descending objectness, ``valid`` bool [B, N] and
            ``converged`` bool [B].
        """
        scores, boxes = self._candidates(*self.head(list(features)))
        boxes = clip_boxes(boxes, self.canvas)
        valid = self.is_anchor & at_least(boxes, self.min_side) & (scores >= self.score_threshold)
        keep, converged = self.suppress(boxes, valid, iou_threshold=self.iou_threshold)

        ranked = torch.where(keep, scores, -1.0).flatten(1)
        best, index = ranked.topk(self.count, dim=1)
        proposals = gather_rows(boxes.flatten(1, 2), index)
        return proposals, best >= 0, converged.all(dim=1)

    def _candidates(self, objectness: list[Tensor], deltas: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Each level's best anchors: probability [B, L, K] and box [B, L, K, 4]."""
        longest = max(self.taken)
        scores, codes, anchors = [], [], []
        for i, (logits, level_deltas) in enumerate(zip(objectness, deltas, strict=True)):
            # Boxes and their order are in single precision, whatever the network computes in.
            logits, level_deltas = logits.to(torch.float32), level_deltas.to(torch.float32)
            batch, per_cell, height, width = logits.shape
            logits = logits.permute(0, 2, 3, 1).reshape(batch, -1)
            level_deltas = level_deltas.reshape(batch, per_cell, 4, height, width).permute(0, 3, 4, 1, 2)
            best, index = logits.topk(self.taken[i], dim=1)
            padding = longest - self.taken[i]
            scores.append(F.pad(best, (0, padding)))
            codes.append(F.pad(gather_rows(level_deltas.reshape(batch, -1, 4), index), (0, 0, 0, padding)))
            anchors.append(F.pad(self.get_buffer(f"anchors_{i}")[index], (0, 0, 0, padding)))
        boxes = decode_boxes(
            torch.stack(codes, dim=1),
            torch.stack(anchors, dim=1),
            weights=self.weights,
            clip=self.clip,
            two_sided=self.two_sided,
        )
        return torch.stack(scores, dim=1).sigmoid(), boxes


def _anchors_per_level(
    rpn: RegionProposalNetwork, canvas: tuple[int, int], feature_sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """float32 [n, 4] for each level, from the network's own generator."""
    generator = rpn.anchor_generator
    image = ImageList(torch.empty(1, 3, *canvas), [canvas])
    (anchors,) = generator(image, [torch.empty(1, 1, *size) for size in feature_sizes])
    per_cell = generator.num_anchors_per_location()
    counts = [n * height * width for n, (height, width) in zip(per_cell, feature_sizes, strict=True)]
    return list(anchors.split(counts))
