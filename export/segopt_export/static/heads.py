"""Heads of Mask R-CNN in the order of work that suits a static graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor


class CellwiseBoxHead(nn.Module):
    """torchvision's ``TwoMLPHead``, reading the channels of a cell side by side.

    That is how :class:`segopt_export.static.roi_align.GatherReader` leaves them: with the first layer's weights in
    that order, 50 MB for 1000 boxes need not be transposed.

    Args:
        head: the trained head.
        bins: P, of its P x P cells.
    """

    def __init__(self, head: TwoMLPHead, bins: int) -> None:
        super().__init__()
        trained: Any = head.fc6
        by_channel = trained.weight.detach().unflatten(1, (-1, bins * bins))
        self.fc6 = nn.Linear(trained.in_features, trained.out_features, device="meta")
        self.fc6.weight = nn.Parameter(by_channel.transpose(1, 2).flatten(1), requires_grad=False)
        self.fc6.bias = trained.bias
        self.fc7 = head.fc7

    def forward(self, pooled: Tensor) -> Tensor:
        """float [R, C, P, P] -> float [R, F]."""
        hidden = self.fc6(pooled.permute(0, 2, 3, 1).flatten(1)).relu()
        features: Tensor = self.fc7(hidden).relu()
        return features


class MaskOfLabel(nn.Module):
    """Mask predictor that computes the channel of each detection's own class and no other.

    torchvision computes a mask for each of 91 classes and throws 90 away; picking the last layer's weights by
    label gives the same numbers from one channel. Its deconvolution has strides as long as its kernel, so no two
    of its products overlap: it is a 1x1 convolution to the four pixels that each cell becomes, and only the
    finished masks need to be put in the order of pixels.

    Args:
        predictor: ``MaskRCNNPredictor``: a 2x2 deconvolution with stride 2, ReLU and a 1x1 convolution to the
            classes.
    """

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__()
        trained: Any = predictor.conv5_mask
        # [C, F, 2, 2] -> [4 F, C, 1, 1]
        weight = trained.weight.detach().permute(2, 3, 1, 0).flatten(0, 2)[..., None, None]
        self.conv5_mask = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device="meta")
        self.conv5_mask.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.conv5_mask.bias = nn.Parameter(trained.bias.detach().repeat(4), requires_grad=False)
        last: Any = predictor.mask_fcn_logits
        self.weight = nn.Parameter(last.weight.detach().flatten(1), requires_grad=False)
        self.bias = nn.Parameter(last.bias.detach(), requires_grad=False)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """float [R, C, 14, 14] and int64 [R] -> mask probability float [R, 28, 28]."""
        rows, _, height, width = features.shape
        pixels: Tensor = self.conv5_mask(features).relu().reshape(rows, 4, -1, height * width)
        weight = self.weight.to(pixels.dtype)[labels]
        product = (weight[:, None, None, :] @ pixels).to(torch.float32)
        mask = (product + self.bias[labels][:, None, None, None]).sigmoid()
        mask = mask.reshape(rows, 2, 2, height, width).permute(0, 3, 1, 4, 2)
        return mask.reshape(rows, 2 * height, 2 * width)


class ChannelOfLabel(nn.Module):
    """Any mask predictor: all classes are computed, and each detection's own one is kept.

    Args:
        predictor: float [R, C, h, w] -> mask logits of every class, float [R, classes, H, W].
    """

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """float [R, C, h, w] and int64 [R] -> mask probability float32 [R, H, W]."""
        logits: Tensor = self.predictor(features).to(torch.float32)
        index = labels[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        return logits.gather(1, index).squeeze(1).sigmoid()


def mask_of_label(predictor: nn.Module) -> nn.Module:
    """The mask of each detection's own class, by the way that suits the predictor."""
    if type(predictor) is MaskRCNNPredictor and _doubles(predictor.conv5_mask):
        return MaskOfLabel(predictor)
    return ChannelOfLabel(predictor)


def _doubles(layer: Any) -> bool:
    """Whether a deconvolution makes four pixels of each cell, none of which overlap."""
    return (layer.kernel_size, layer.stride, layer.padding) == ((2, 2), (2, 2), (0, 0)) and layer.groups == 1
