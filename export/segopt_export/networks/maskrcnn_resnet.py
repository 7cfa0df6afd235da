"""Mask R-CNN on a ResNet with a feature pyramid, by the rules of any family."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.mask_rcnn import MaskRCNN
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from segopt_export.networks.adaptive_roi_pool import AdaptiveRoIPool
from segopt_export.networks.box_rules import ClassAgnosticRoIHeads, TwoSidedBoxCoder
from segopt_export.networks.families import DetectorRules

LEVELS = ("0", "1", "2", "3")
"""Names of the pyramid's levels that boxes are pooled from: strides 4 to 32."""
FINEST_STRIDE = 4
"""Of the first level, in pixels; it doubles from one to the next."""
ANCHOR_SIZES = ((32,), (64,), (128,), (256,), (512,))
ASPECT_RATIOS = (0.5, 1.0, 2.0)
_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class BottleneckStride1x1(Bottleneck):  # type: ignore[misc]
    """Bottleneck that halves its input in the first 1x1 convolution: ResNet as He et al. published it in 2015."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


class ExactAnchorGenerator(AnchorGenerator):  # type: ignore[misc]
    """Anchors whose corners are not rounded to whole pixels, at places that lie a level's own stride apart.

    torchvision divides the picture by the level's size: on 800 pixels the 13 rows of the level of stride 64 lie 61
    pixels apart. Detectron2 and mmdetection take 64 (``anchor_generator.py`` of both).
    """

    def generate_anchors(
        self,
        scales: list[int],
        aspect_ratios: list[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Base anchors, [len(scales) * len(aspect_ratios), 4]; see :class:`AnchorGenerator`."""
        # In double precision: the reference takes Python's square root and rounds the corners once.
        ratios = torch.as_tensor(aspect_ratios, dtype=torch.float64, device=device)
        sizes = torch.as_tensor(scales, dtype=torch.float64, device=device)
        width = (sizes**2 / ratios[:, None]).sqrt().flatten()
        height = (width.reshape(len(ratios), -1) * ratios[:, None]).flatten()
        return (torch.stack((-width, -height, width, height), dim=1) / 2).to(dtype)

    def grid_anchors(self, grid_sizes: list[list[int]], strides: list[list[Tensor]]) -> list[Tensor]:
        """Anchors of each level, [n, 4]; see :class:`AnchorGenerator`."""
        own = [[torch.full_like(s, FINEST_STRIDE * 2**level) for s in pair] for level, pair in enumerate(strides)]
        anchors: list[Tensor] = super().grid_anchors(grid_sizes, own)
        return anchors


def resnet_fpn(depth: int, rules: DetectorRules) -> BackboneWithFPN:
    """A ResNet with frozen batch norms and a feature pyramid of 256 channels, strides 4 to 64."""
    block = BottleneckStride1x1 if rules.stride_in_1x1 else Bottleneck
    body = ResNet(block, list(_BLOCKS[depth]), norm_layer=FrozenBatchNorm2d)
    return BackboneWithFPN(
        body,
        return_layers={f"layer{i + 1}": name for i, name in enumerate(LEVELS)},
        in_channels_list=[64 * block.expansion * 2**i for i in range(4)],
        out_channels=256,
        extra_blocks=LastLevelMaxPool(),
    )


def maskrcnn_resnet_fpn(classes: int, *, depth: int, rules: DetectorRules) -> MaskRCNN:
    """Mask R-CNN (He et al., 2017) with frozen batch norms, by the rules of a family.

    Args:
        classes: how many, background included.
        depth: of the ResNet, 50 or 101.
        rules: those that the weights were trained by.
    """
    generator = AnchorGenerator if rules.rounded_anchors else ExactAnchorGenerator
    model = MaskRCNN(
        resnet_fpn(depth, rules),
        classes,
        rpn_anchor_generator=generator(ANCHOR_SIZES, (ASPECT_RATIOS,) * len(ANCHOR_SIZES)),
        box_roi_pool=_pool(7, rules),
        mask_roi_pool=_pool(14, rules),
        box_score_thresh=rules.score_threshold,
    )
    model.rpn.min_size = rules.min_proposal_side
    if rules.class_agnostic_suppression:
        model.roi_heads = ClassAgnosticRoIHeads.of(model.roi_heads)
    if rules.two_sided_clip:
        for part in (model.rpn, model.roi_heads):
            part.box_coder = TwoSidedBoxCoder(part.box_coder.weights)
    model.rules = rules
    return model


def _pool(bins: int, rules: DetectorRules) -> nn.Module:
    return AdaptiveRoIPool(LEVELS, bins) if rules.dense_pooling else MultiScaleRoIAlign(list(LEVELS), bins, 2)
