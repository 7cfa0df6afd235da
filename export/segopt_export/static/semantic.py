"""Semantic networks as static graphs: label map out."""

from __future__ import annotations

from torch import Tensor, nn

from segopt_export.networks.parts import logits_of
from segopt_export.static.graph import GraphBranch, LabelMap


class StaticSemantic(GraphBranch):
    """A trained semantic network, with its argmax in the graph.

    Args:
        model: the network, in eval mode; answers logits [B, C, H, W], or ``{"out": logits}``.
    """

    output_names = ("semantic",)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.label_map = LabelMap()

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """float32 [B, 3, H, W], RGB, normalized -> class index uint8 [B, H, W]."""
        return (self.label_map(logits_of(self.model(image))),)
