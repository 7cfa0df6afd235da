"""The exported graph: bytes of a camera frame in, the contract's named tensors out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """uint8 BGR [B, H, W, 3] -> float32 RGB [B, 3, H, W], normalized.

    Args:
        mean: RGB, of pixels scaled to 0..1.
        std: likewise.
    """

    mean: Tensor
    std: Tensor
    to_rgb: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1), persistent=False)
        self.register_buffer("to_rgb", torch.tensor([2, 1, 0]), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        # TensorRT has no transpose of uint8: the cast comes first. Whole planes are gathered; an index in brackets
        # would be a GatherND of single values.
        rgb = image.to(torch.float32).permute(0, 3, 1, 2).index_select(1, self.to_rgb)
        return (rgb / 255 - self.mean) / self.std


class LabelMap(nn.Module):
    """Logits float [B, C, H, W] -> the index of the largest, uint8 [B, H, W].

    A label map is one byte a pixel, where the logits of 21 classes are 84. As a module of its own it is where a
    check can look at the logits.
    """

    def forward(self, logits: Tensor) -> Tensor:
        """See the class."""
        # TensorRT 10 makes uint8 of FP32 and FP16 alone (DataType::kUINT8 in NvInferRuntimeBase.h).
        return logits.argmax(dim=1).to(torch.float32).to(torch.uint8)


class GraphBranch(nn.Module):
    """A network as a static graph: takes the normalized image, float32 RGB [B, 3, H, W]."""

    output_names: tuple[str, ...] = ()
    """Names of the tensors that it returns, in their order."""


class Renormalized(GraphBranch):
    """A branch whose network was trained on pictures normalized in its own way, behind a shared normalization.

    Args:
        branch: the network.
        shared: how its input was normalized.
        own: how it shall be.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, branch: GraphBranch, shared: Normalize, own: Normalize) -> None:
        super().__init__()
        self.branch = branch
        self.output_names = branch.output_names
        self.register_buffer("scale", shared.std / own.std, persistent=False)
        self.register_buffer("shift", (shared.mean - own.mean) / own.std, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """float32 RGB [B, 3, H, W], normalized the shared way -> the branch's outputs."""
        outputs: tuple[Tensor, ...] = self.branch(image * self.scale + self.shift)
        return outputs


class SegmentationGraph(nn.Module):
    """One or more branches behind one ``image``.

    Args:
        normalize: from the frame's bytes to the networks' input.
        branches: the networks.
    """

    def __init__(self, normalize: Normalize, branches: Sequence[GraphBranch]) -> None:
        super().__init__()
        self.normalize = normalize
        self.branches = nn.ModuleList(branches)
        self.output_names = tuple(name for branch in branches for name in branch.output_names)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 BGR [B, H, W, 3] -> tensors in the order of :attr:`output_names`."""
        rgb = self.normalize(image)
        return tuple(output for branch in self.branches.children() for output in branch(rgb))
