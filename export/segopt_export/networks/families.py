"""Where two families of Mask R-CNN differ although their layers are the same: as data.

Weights fit the rules they were trained by; with the other family's they still run, and lose accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def rules_of(model: nn.Module) -> DetectorRules:
    """The rules that a model was built by; torchvision's own builders make models that do not say."""
    rules = getattr(model, "rules", None)
    return rules if isinstance(rules, DetectorRules) else TORCHVISION
