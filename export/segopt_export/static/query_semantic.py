"""Semantic maps of query networks as static graphs: what each class has of all queries' masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from segopt_export.networks.eomt import EoMT, for_canvas
from segopt_export.static.graph import GraphBranch, LabelMap
from segopt_export.static.roi_align import Size

_HEIGHT, _WIDTH = 2, 3


def window_starts(length: int, side: int) -> list[int]:
    """Where overlapping windows of a side begin, in pixels along the canvas's longer side: as few as cover it.

    The overlap is shared out evenly and rounded down, as Hugging Face's ``EomtImageProcessor`` does.
    """
    count = math.ceil(length / side)
    overlap = (count * side - length) / max(count - 1, 1)
    return [int(i * (side - overlap)) for i in range(count)]


class StaticQuerySemantic(GraphBranch):
    """A trained :class:`segopt_export.networks.eomt.EoMT` as a semantic network for one canvas.

    A pixel's class is that of the largest sum over all queries of class probability times mask probability.

    Args:
        model: the network, in eval mode; left as it is.
        canvas: height and width of the input in pixels, multiples of the patch's side.
        windowed: look at overlapping squares along the longer side, and take the mean of the sums where they
            overlap; else at the whole canvas.
    """

    output_names = ("semantic",)
    weight: Tensor

    def __init__(self, model: EoMT, canvas: Size, *, windowed: bool) -> None:
        super().__init__()
        self.axis = _WIDTH if canvas[1] >= canvas[0] else _HEIGHT
        self.window = (min(canvas),) * 2 if windowed else canvas
        self.starts = window_starts(max(canvas), min(canvas)) if windowed else [0]
        self.length = max(canvas)
        self.model = for_canvas(model, self.window, whole=windowed)
        side = self.window[self.axis - 2]
        covered = sum(_placed(torch.ones(side), start, self.length, 0) for start in self.starts)
        assert isinstance(covered, Tensor)
        shape = (1, 1, 1, self.length) if self.axis == _WIDTH else (1, 1, self.length, 1)
        self.register_buffer("weight", (1 / covered).reshape(shape), persistent=False)
        self.label_map = LabelMap()

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """float32 [B, 3, H, W], RGB, normalized -> class index uint8 [B, H, W]."""
        side = self.window[self.axis - 2]
        windows = torch.cat([image.narrow(self.axis, start, side) for start in self.starts])
        sums = self.class_sums(windows).chunk(len(self.starts))
        if len(sums) == 1:
            return (self.label_map(sums[0]),)
        placed = [
            _placed(part, start, self.length, self.axis) for part, start in zip(sums, self.starts, strict=True)
        ]
        # The mean changes no pixel's order of classes: its weight is the same for all of them. It keeps the values
        # those of the reference, where a check looks at them.
        return (self.label_map(torch.stack(placed).sum(dim=0) * self.weight),)

    def class_sums(self, windows: Tensor) -> Tensor:
        """float32 [N, classes, h, w] of windows [N, 3, h, w]."""
        queries, patches = self.model.split(self.model.encode(windows))
        masks = F.interpolate(
            self.model.masks(queries, patches), size=self.window, mode="bilinear", align_corners=False
        )
        logits = self.model.class_predictor(queries)
        classes = logits.to(torch.float32).softmax(dim=-1)[..., :-1]
        # In a half-precision graph this product is in half, too.
        sums = classes.transpose(1, 2).to(logits.dtype) @ masks.sigmoid().flatten(2).to(logits.dtype)
        whole: Tensor = sums.to(torch.float32).reshape(*sums.shape[:2], *self.window)
        return whole


def _placed(part: Tensor, start: int, length: int, axis: int) -> Tensor:
    """The part among zeros, ``length`` long along the axis."""
    around = (start, length - start - part.shape[axis])
    return F.pad(part, (0, 0, *around) if axis == _HEIGHT else around)
