"""Panoptic FPN: things and stuff from one feature pyramid (Kirillov et al., 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNN

from segopt_export.networks.families import DETECTRON2, DetectorRules, rules_of
from segopt_export.networks.maskrcnn_resnet import maskrcnn_resnet_fpn
from segopt_export.networks.mobilenet import maskrcnn_mobilenet_v3_small_fpn
from segopt_export.networks.semantic_head import SemanticFPNHead, upsample_logits

IGNORED = 255
"""In a semantic target: not annotated."""


class PanopticFPN(nn.Module):
    """The parts of a Mask R-CNN with a semantic head on the same pyramid.

    Pictures come at the size that the network shall see: unlike torchvision's detectors it resizes nothing, so
    that pictures and all targets are resized in one place, by who loads them.

    Args:
        detector: whose parts become those of this network.
        semantic_head: its first class stands for all things, the others are the stuff.
        semantic_weight: of the semantic loss; the paper's lambda_s, 0.5 for COCO.
    """

    def __init__(
        self, detector: MaskRCNN, semantic_head: SemanticFPNHead, *, semantic_weight: float = 0.5
    ) -> None:
        super().__init__()
        self.transform = detector.transform
        self.backbone = detector.backbone
        self.rpn = detector.rpn
        self.roi_heads = detector.roi_heads
        self.semantic_head = semantic_head
        self.semantic_weight = semantic_weight
        self.rules = rules_of(detector)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Losses in training, answers in eval mode.

        Args:
            images: float32 RGB [3, H, W], 0 to 1.
            targets: for each picture ``boxes`` float32 [N, 4], ``labels`` int64 [N] (from 1), ``masks`` uint8
                [N, H, W], and ``semantic`` int64 [H, W]: 0 for things, then the stuff, 255 not annotated.

        Returns:
            In training, losses by name, to be summed. In eval mode, for each picture ``boxes``, ``scores``,
            ``labels`` and ``masks`` as torchvision's Mask R-CNN has them, and ``semantic`` int64 [H, W].
        """
        if self.training and targets is None:
            raise ValueError("Panoptic FPN needs targets in training")
        sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in images]
        batch = ImageList(self.transform.batch_images([self.transform.normalize(i) for i in images]), sizes)
        features = self.backbone(batch.tensors)
        proposals, proposal_losses = self.rpn(batch, features, targets)
        found, detection_losses = self.roi_heads(features, proposals, sizes, targets)
        logits = upsample_logits(self.semantic_head(features))
        if self.training:
            semantic = semantic_loss(logits, [target["semantic"] for target in targets or ()])
            return {**proposal_losses, **detection_losses, "loss_semantic": self.semantic_weight * semantic}
        found = self.transform.postprocess(found, sizes, sizes)
        classes = logits.argmax(dim=1)
        return [
            {**answer, "semantic": classes[i, :height, :width]}
            for i, (answer, (height, width)) in enumerate(zip(found, sizes, strict=True))
        ]


def semantic_loss(logits: Tensor, maps: list[Tensor]) -> Tensor:
    """Cross entropy, averaged over the annotated pixels of a batch.

    Args:
        logits: float [B, C, H, W], of pictures that were padded to one size.
        maps: for each picture int64 [h, w].
    """
    height, width = logits.shape[-2:]
    target = torch.stack([F.pad(m, (0, width - m.shape[1], 0, height - m.shape[0]), value=IGNORED) for m in maps])
    # A batch without an annotated pixel has no mean.
    annotated = (target != IGNORED).sum().clamp(min=1)
    return F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum") / annotated


def panoptic_fpn_resnet(
    classes: int, semantic_classes: int, *, depth: int, rules: DetectorRules = DETECTRON2
) -> PanopticFPN:
    """Panoptic FPN: 46 million parameters with a ResNet-50, 65 with a ResNet-101.

    Args:
        classes: of things, background included.
        semantic_classes: "things", and each kind of stuff.
        depth: of the ResNet, 50 or 101.
        rules: of the family that the weights are of.
    """
    detector = maskrcnn_resnet_fpn(classes, depth=depth, rules=rules)
    return PanopticFPN(detector, SemanticFPNHead(256, semantic_classes))


def panoptic_fpn_mobilenet_v3_small(classes: int, semantic_classes: int) -> PanopticFPN:
    """Panoptic FPN in small, for demos and devices with little to spare: 2.4 million parameters.

    Args:
        classes: of things, background included.
        semantic_classes: "things", and each kind of stuff.
    """
    detector = maskrcnn_mobilenet_v3_small_fpn(classes)
    channels: int = detector.backbone.out_channels
    return PanopticFPN(detector, SemanticFPNHead(channels, semantic_classes, channels=channels))
