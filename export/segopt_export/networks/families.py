"""Where families of Mask R-CNN differ although their layers are the same: as data.

Weights fit the rules they were trained by; with the other family's they still run, and lose accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from segopt.model.card import PasteRule


@dataclass(frozen=True)
class DetectorRules:
    """What a family of detectors does around its layers."""

    stride_in_1x1: bool
    """Bottlenecks halve their input in the first 1x1 convolution, as MSRA's ResNets of 2015 do, not in the 3x3."""
    rounded_anchors: bool
    """Corners of the base anchors are whole pixels."""
    dense_pooling: bool
    """RoIAlign with its half-pixel offset, and with as many samples as a bin has cells
    (:class:`segopt_export.networks.adaptive_roi_pool.AdaptiveRoIPool`); otherwise 2 x 2 samples and no offset."""
    min_proposal_side: float
    """Shortest side of a proposal, in pixels."""
    mask_paste: PasteRule
    """How the runtime lays masks onto pixels."""
    two_sided_clip: bool = False
    """Sides of a box are at least a 62.5th of its anchor's or proposal's, and not just at most 62.5 times them."""
    class_agnostic_suppression: bool = False
    """A detection suppresses those of other classes, too."""
    score_threshold: float = 0.05
    """Of detections, before suppression."""


TORCHVISION = DetectorRules(
    stride_in_1x1=False,
    rounded_anchors=True,
    dense_pooling=False,
    min_proposal_side=1e-3,
    mask_paste="torchvision",
)
DETECTRON2 = DetectorRules(
    stride_in_1x1=True,
    rounded_anchors=False,
    dense_pooling=True,
    # Any proposal that is not empty: the smallest normal number, which no backend rounds to zero.
    min_proposal_side=2.0**-126,
    mask_paste="detectron2",
)
"""Of the zoo's configurations with MSRA's ResNet-50 and -101 (``STRIDE_IN_1X1``, ``ROIAlignV2`` with
``POOLER_SAMPLING_RATIO`` 0)."""
MMDETECTION = DetectorRules(
    stride_in_1x1=False,
    rounded_anchors=False,
    dense_pooling=True,
    min_proposal_side=2.0**-126,
    # fcn_mask_head.py took it from Detectron2.
    mask_paste="detectron2",
    two_sided_clip=True,
)
"""Of mmdetection 2 and 3 (configs/_base_/models/mask-rcnn_r50_fpn.py), with torchvision's ResNets."""

Style = Literal["pytorch", "caffe"]
"""Whose ResNet a network of mmdetection began from: torchvision's, or MSRA's by way of Caffe."""

MMDETECTION_STYLES: Mapping[Style, DetectorRules] = {
    "pytorch": MMDETECTION,
    "caffe": replace(MMDETECTION, stride_in_1x1=True),
}


def for_panoptic_fusion(rules: DetectorRules) -> DetectorRules:
    """Rules of mmdetection's Panoptic FPN: what suppression keeps is laid onto the map without further ado."""
    return replace(rules, class_agnostic_suppression=True, score_threshold=0.6)


def rules_of(model: nn.Module) -> DetectorRules:
    """The rules that a model was built by; torchvision's own builders make models that do not say."""
    rules = getattr(model, "rules", None)
    return rules if isinstance(rules, DetectorRules) else TORCHVISION
