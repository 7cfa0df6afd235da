"""Boxes as mmdetection treats them, where that is not as torchvision does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

MIN_SIDE = 1e-2
"""Shortest side of a detection in pixels (``RoIHeads.postprocess_detections``)."""


class TwoSidedBoxCoder(BoxCoder):  # type: ignore[misc]
    """Offsets of width and height are bounded on both sides.

    torchvision bounds how much larger a box gets; ``delta2bbox`` also how much smaller, by the same factor
    (mmdet/models/task_modules/coders/delta_xywh_bbox_coder.py, ``wh_ratio_clip``).
    """

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Offsets float [N, 4 C] and boxes float [N, 4] -> boxes float [N, 4 C]."""
        codes = rel_codes.reshape(len(rel_codes), -1, 4)
        least = codes.new_tensor([weight * -self.bbox_xform_clip for weight in self.weights[2:]])
        codes = torch.cat((codes[..., :2], torch.maximum(codes[..., 2:], least)), dim=-1)
        decoded: Tensor = super().decode_single(codes.flatten(1), boxes)
        return decoded


class ClassAgnosticRoIHeads(RoIHeads):  # type: ignore[misc]
    """Detections suppress each other whatever their classes (``nms`` with ``class_agnostic=True``)."""

    @classmethod
    def of(cls, heads: RoIHeads) -> ClassAgnosticRoIHeads:
        """The same heads with this rule."""
        return cls(
            heads.box_roi_pool,
            heads.box_head,
            heads.box_predictor,
            heads.proposal_matcher.high_threshold,
            heads.proposal_matcher.low_threshold,
            heads.fg_bg_sampler.batch_size_per_image,
            heads.fg_bg_sampler.positive_fraction,
            heads.box_coder.weights,
            heads.score_thresh,
            heads.nms_thresh,
            heads.detections_per_img,
            heads.mask_roi_pool,
            heads.mask_head,
            heads.mask_predictor,
        )

    def postprocess_detections(
        self, class_logits: Tensor, box_regression: Tensor, proposals: list[Tensor], image_shapes: list[Any]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """See :meth:`RoIHeads.postprocess_detections`."""
        counts = [len(boxes) for boxes in proposals]
        decoded = torch.split(self.box_coder.decode(box_regression, proposals), counts)
        scores = torch.split(F.softmax(class_logits, -1), counts)
        found = [self._detections(*picture) for picture in zip(decoded, scores, image_shapes, strict=True)]
        boxes, kept_scores, labels = (list(part) for part in zip(*found, strict=True))
        return boxes, kept_scores, labels

    def _detections(
        self, boxes: Tensor, scores: Tensor, image_shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of one picture: boxes float [N, C, 4] and scores float [N, C] -> [D, 4], [D] and int64 [D]."""
        proposal, label = torch.where(scores[:, 1:] > self.score_thresh)
        label = label + 1
        boxes, scores = clip_boxes_to_image(boxes[proposal, label], image_shape), scores[proposal, label]
        large = remove_small_boxes(boxes, MIN_SIDE)
        boxes, scores, label = boxes[large], scores[large], label[large]
        keep = nms(boxes, scores, self.nms_thresh)[: self.detections_per_img]
        return boxes[keep], scores[keep], label[keep]
