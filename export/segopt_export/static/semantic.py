"""Semantic networks as static graphs: label map out."""

from __future__ import annotations

from torch import Tensor, nn

from segopt_export.static.graph import GraphBranch, LabelMap


class StaticSemantic(GraphBranch):
    """A trained FCN, DeepLabV3 or LR-ASPP of torchvision, with its argmax in the graph.

    Args:
        model: the network, in eval mode.
    """

    output_names = ("semantic",)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.label_map = LabelMap()

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """float32 [B, 3, H, W], RGB, normalized -> class index uint8 [B, H, W]."""
        return (self.label_map(self.model(image)["out"]),)
