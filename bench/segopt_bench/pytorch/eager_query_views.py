"""Query networks for semantic and for instance segmentation, run eagerly with the usual post-processing.

The rules are those of Hugging Face's ``EomtImageProcessor``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segopt.letterbox import Letterbox
from segopt.masks.crop import MaskCrop
from segopt.model.card import Card
from segopt.results import InstanceResult, SemanticResult
from segopt.thresholds import Thresholds
from segopt_bench.pytorch.eager_queries import Answer, EagerQueryNetwork
from segopt_export.networks.eomt import EoMT
from segopt_export.static.query_semantic import window_starts

_HEIGHT, _WIDTH = 2, 3


class _EagerView(EagerQueryNetwork):
    """With masks as large as the pictures."""

    def __init__(self, card: Card, network: EoMT, size: tuple[int, int], **options: Any) -> None:
        super().__init__(card, network, size, **options)
        self._size = size

    def _run(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits of the picture's size, and class probabilities without "no object"."""
        masks, classes = self._network(rgb)
        whole = F.interpolate(masks.float(), size=self._size, mode="bilinear", align_corners=False)
        return whole, classes.float().softmax(dim=-1)[..., :-1]


class EagerQueryClasses(_EagerView):
    """Does the job of a semantic :class:`segopt.segmenter.Segmenter` for a query network, with PyTorch alone.

    Args:
        card: of the exported model.
        network: in eval mode; changed in place.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        half: run in mixed half precision (autocast), which is for a GPU.
        compiled: pass the network to ``torch.compile``.
    """

    def __init__(
        self, card: Card, network: EoMT, *, device: str = "cpu", half: bool = False, compiled: bool = False
    ) -> None:
        side = min(card.canvas)
        windowed = network.shape.windowed
        size = (side, side) if windowed else card.canvas
        super().__init__(card, network, size, device=device, half=half, compiled=compiled)
        self._starts = window_starts(max(card.canvas), side) if windowed else [0]
        self._axis = _WIDTH if card.canvas[1] >= card.canvas[0] else _HEIGHT

    def _answers(self, rgb: Tensor) -> list[Tensor]:
        normalized = (rgb - self._mean) / self._std
        side = self._size[self._axis - 2]
        summed: Tensor | None = None
        for start in self._starts:
            masks, classes = self._run(normalized.narrow(self._axis, start, side))
            sums = torch.einsum("bqc,bqhw->bchw", classes, masks.sigmoid())
            if summed is None:
                shape = (*sums.shape[:2], *self.card.canvas)
                summed, counts = sums.new_zeros(shape), sums.new_zeros(shape[-2:])
            summed.narrow(self._axis, start, side).add_(sums)
            counts.narrow(self._axis - 2, start, side).add_(1)
        assert summed is not None
        return list(summed / counts)

    def assemble(self, found: tuple[Letterbox, Tensor]) -> SemanticResult:
        """Post-process one frame's answer."""
        letterbox, sums = found
        height, width = letterbox.content
        with torch.inference_mode():
            cut = sums[None, :, :height, :width]
            whole = F.interpolate(cut, size=letterbox.frame, mode="bilinear", align_corners=False)
            classes = whole.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
        return SemanticResult(classes, self.card.categories["semantic"])


class EagerQueryObjects(_EagerView):
    """Does the job of an instance :class:`segopt.segmenter.Segmenter` for a query network, with PyTorch alone.

    Args:
        card: of the exported model.
        thresholds: the lowest score.
        network: in eval mode; changed in place.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        half: run in mixed half precision (autocast), which is for a GPU.
        compiled: pass the network to ``torch.compile``.
    """

    def __init__(
        self,
        card: Card,
        thresholds: Thresholds,
        network: EoMT,
        *,
        device: str = "cpu",
        half: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__(card, network, card.canvas, device=device, half=half, compiled=compiled)
        self._lowest = thresholds.score

    def _answers(self, rgb: Tensor) -> list[Answer]:
        masks, classes = self._run((rgb - self._mean) / self._std)
        return list(zip(masks, classes, strict=True))

    def assemble(self, found: tuple[Letterbox, Answer]) -> InstanceResult:
        """Post-process one frame's answer."""
        letterbox, (masks, classes) = found
        height, width = letterbox.content
        with torch.inference_mode():
            cut = masks[None, :, :height, :width]
            logits = F.interpolate(cut, size=letterbox.frame, mode="bilinear", align_corners=False)[0]
            inside = logits > 0
            area = inside.sum(dim=(1, 2))
            quality = (logits.sigmoid() * inside).sum(dim=(1, 2)) / (area + 1e-6)
            scores, labels = classes.max(dim=-1)
            scores = scores * quality
            order = scores.argsort(descending=True)
            order = order[(scores[order] >= self._lowest) & (area[order] > 0)][: self.card.max_detections]
            planes = inside[order].cpu().numpy()
        crops = tuple(MaskCrop(0, 0, plane) for plane in planes)
        boxes = [_box(plane) for plane in planes]
        categories = self.card.categories["instance"]
        ids = np.array([category.id for category in categories], dtype=np.int32)
        return InstanceResult(
            boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
            scores=scores[order].cpu().numpy().astype(np.float32),
            labels=ids[labels[order].cpu().numpy()],
            crops=crops,
            size=letterbox.frame,
            categories=categories,
        )


def _box(plane: np.ndarray) -> tuple[int, int, int, int]:
    """Tight box of a mask bool [H, W] that is not empty: x0, y0, x1, y1."""
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
