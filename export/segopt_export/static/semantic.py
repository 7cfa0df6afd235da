"""Semantic networks as static graphs: label map out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segopt_export.networks.parts import logits_of
from segopt_export.static.graph import GraphBranch


class StaticSemantic(GraphBranch):
    """A trained semantic network, with its argmax in the graph.

    A label map is one byte a pixel, where the logits of 21 classes are 84.

    Args:
        model: the network, in eval mode; answers logits [B, C, H, W], or ``{"out": logits}``.
    """

    output_names = ("semantic",)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """float32 [B, 3, H, W], RGB, normalized -> class index uint8 [B, H, W]."""
        logits = logits_of(self.model(image))
        return (logits.argmax(dim=1).to(torch.uint8),)
