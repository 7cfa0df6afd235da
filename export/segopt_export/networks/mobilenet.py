"""Small networks of torchvision's own classes: for demos, tests, and devices with little to spare.

torchvision has builders for their big siblings alone. Both have a MobileNetV3-Small backbone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.mobilenetv3 import mobilenet_v3_small
from torchvision.models.segmentation import FCN
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

# MobileNetV3-Small's blocks by index in ``features``, with their channels: the last of each stride.
_STRIDE_4, _STRIDE_8, _STRIDE_16, _STRIDE_32 = (1, 16), (3, 24), (8, 48), (12, 576)
_PYRAMID_CHANNELS = 64


def _pyramid() -> dict[str, Any]:
    """What makes a feature pyramid of strides 4 to 32, named "0" to "3", and a fifth level for detectors."""
    levels = (_STRIDE_4, _STRIDE_8, _STRIDE_16, _STRIDE_32)
    return {
        "backbone": mobilenet_v3_small(weights=None).features,
        "return_layers": {str(block): str(i) for i, (block, _) in enumerate(levels)},
        "in_channels_list": [width for _, width in levels],
        "out_channels": _PYRAMID_CHANNELS,
        "extra_blocks": LastLevelMaxPool(),
    }


class FinestLevel(BackboneWithFPN):  # type: ignore[misc]
    """The finest map of a feature pyramid (Lin et al., 2017), as torchvision's segmentation networks take it."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """float [B, 3, H, W] -> ``out``, float [B, C, H / 4, W / 4]."""
        return {"out": super().forward(x)["0"]}


def fcn_mobilenet_v3_small_fpn(classes: int) -> FCN:
    """FCN on a feature pyramid of 64 channels, at stride 4: 1.1 million parameters."""
    classifier = nn.Sequential(
        nn.BatchNorm2d(_PYRAMID_CHANNELS), nn.ReLU(inplace=True), nn.Conv2d(_PYRAMID_CHANNELS, classes, 1)
    )
    return FCN(FinestLevel(**_pyramid()), classifier)


def maskrcnn_mobilenet_v3_small_fpn(classes: int) -> MaskRCNN:
    """Mask R-CNN with a feature pyramid of 64 channels and narrow heads: 2.4 million parameters."""
    channels, hidden = _PYRAMID_CHANNELS, 256
    anchors = AnchorGenerator(tuple((2 ** (4 + level),) for level in range(5)), ((0.5, 1.0, 2.0),) * 5)
    return MaskRCNN(
        BackboneWithFPN(**_pyramid()),
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(channels, anchors.num_anchors_per_location()[0]),
        box_head=TwoMLPHead(channels * 7 * 7, hidden),
        box_predictor=FastRCNNPredictor(hidden, classes),
        mask_head=MaskRCNNHeads(channels, (channels,) * 3, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, classes),
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=200,
    )
