"""The semantic head of Panoptic FPN."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

COMMON_STRIDE = 4
"""In pixels: where the scales meet, and the stride of the pyramid's first level."""
GROUPS = 32
"""Of the group norms."""


class SemanticFPNHead(nn.Module):
    """Feature pyramid -> class logits (Kirillov et al., "Panoptic Feature Pyramid Networks", 2019, section 3.1).

    Each level is brought to stride 4 by as many rounds of 3x3 convolution, group norm, ReLU and upsampling by 2 as
    it takes (the first by one round without upsampling); their sum, by a 1x1 convolution, is the logits.

    Args:
        in_channels: of the pyramid.
        classes: how many; Panoptic FPN's first one stands for all things.
        levels: names of the levels, of strides 4, 8, 16, ...
        channels: of the rounds.
    """

    def __init__(
        self, in_channels: int, classes: int, *, levels: Sequence[str] = ("0", "1", "2", "3"), channels: int = 128
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.scales = nn.ModuleList(_scale(in_channels, channels, rounds=i) for i in range(len(self.levels)))
        self.predictor = nn.Conv2d(channels, classes, 1)
        nn.init.kaiming_normal_(self.predictor.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """By level float [B, C, h, w] -> logits float [B, classes, H / 4, W / 4]."""
        first, *others = (scale(features[name]) for name, scale in zip(self.levels, self.scales, strict=True))
        for other in others:
            first = first + other
        logits: Tensor = self.predictor(first)
        return logits


def upsample_logits(logits: Tensor) -> Tensor:
    """Logits at stride 4 -> at the image's own resolution, float [B, classes, H, W]."""
    return F.interpolate(logits, scale_factor=COMMON_STRIDE, mode="bilinear", align_corners=False)


def _scale(in_channels: int, channels: int, *, rounds: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(max(1, rounds)):
        conv = nn.Conv2d(in_channels if i == 0 else channels, channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers[f"conv{i}"] = conv
        layers[f"norm{i}"] = nn.GroupNorm(GROUPS, channels)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        if rounds:
            layers[f"up{i}"] = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return nn.Sequential(layers)
