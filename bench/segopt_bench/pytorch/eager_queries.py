"""A query network of a card as it is without segopt: its forward and the usual post-processing, run eagerly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segopt.letterbox import Letterbox, Prepared
from segopt.model.card import Card
from segopt.results import PanopticResult
from segopt.segment import Segment
from segopt_bench.pytorch.eager_stages import EagerStages
from segopt_export.networks.eomt import Attention, EoMT, fit_to_canvas

Answer = tuple[Tensor, Tensor]
"""Of one frame: mask logits [Q, h, w], class logits [Q, classes + 1]."""


class EagerQueryNetwork(EagerStages):
    """Runs a query network on pictures of one size; what follows is left to others.

    Args:
        card: of the exported model.
        network: in eval mode; changed in place.
        size: height and width of the pictures.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        half: run in mixed half precision (autocast), which is for a GPU.
        compiled: pass the network to ``torch.compile``.
    """

    def __init__(
        self,
        card: Card,
        network: EoMT,
        size: tuple[int, int],
        *,
        device: str = "cpu",
        half: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__(card, device=device, half=half)
        fit_to_canvas(network, size, whole=network.shape.windowed)
        for module in network.modules():
            if isinstance(module, Attention):
                module.attend = fused_attention
        network.to(self._device)
        self._network = torch.compile(network) if compiled else network
        self._mean, self._std = self._normalization(card.mean, card.std)

    def decode(self, prepared: Prepared, answers: list[Any]) -> list[tuple[Letterbox, Any]]:
        """The answers of the frames that there are."""
        return list(zip(prepared.letterboxes, answers, strict=False))


class EagerQueries(EagerQueryNetwork):
    """Does the job of a panoptic :class:`segopt.segmenter.Segmenter` for a query network, with PyTorch alone.

    Every query's mask is enlarged to the canvas, cut, and resized to the frame; who owns a pixel and which query
    survives is worked out on planes of the frame's size, as MaskFormer's and EoMT's own code has it.

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
        super().__init__(card, network, card.canvas, device=device, half=half, compiled=compiled)
        self._categories = card.categories["panoptic"]

    def _answers(self, rgb: Tensor) -> list[Answer]:
        masks, classes = self._network((rgb - self._mean) / self._std)
        return list(zip(masks.float(), classes.float(), strict=True))

    def assemble(self, found: tuple[Letterbox, Answer]) -> PanopticResult:
        """Post-process one frame's answer."""
        letterbox, (masks, classes) = found
        with torch.inference_mode():
            height, width = letterbox.content
            whole = F.interpolate(masks[None], size=self.card.canvas, mode="bilinear", align_corners=False)
            cut = whole[..., :height, :width]
            planes = F.interpolate(cut, size=letterbox.frame, mode="bilinear", align_corners=False)[0]
            scores, labels = classes.softmax(dim=-1).max(dim=-1)
            kept = (labels < classes.shape[1] - 1) & (scores > self.card.query_score)
            segment_map, segments = self._merge(planes[kept].sigmoid(), scores[kept], labels[kept])
        return PanopticResult(segment_map, tuple(segments), self._categories)

    def _merge(self, masks: Tensor, scores: Tensor, labels: Tensor) -> tuple[NDArray[np.int32], list[Segment]]:
        """Masks [K, H, W] of the kept queries, their scores and classes [K] -> map and segments."""
        merged = torch.zeros(masks.shape[1:], dtype=torch.int32, device=masks.device)
        segments: list[Segment] = []
        if not len(masks):
            return merged.cpu().numpy(), segments
        owner = (scores[:, None, None] * masks).argmax(dim=0)
        of_stuff: dict[int, int] = {}
        for k in scores.argsort(descending=True).tolist():
            category, owned, mask = self._categories[int(labels[k])], owner == k, masks[k] >= 0.5
            own, whole = int(owned.sum()), int(mask.sum())
            painted = owned & mask
            if not whole or not bool(painted.any()) or own / whole <= self.card.mask_share:
                continue
            number = of_stuff.get(category.id)
            if number is None:
                number = len(segments) + 1
                segments.append(Segment(number, category.id, category.is_thing, float(scores[k]), 0))
                if not category.is_thing:
                    of_stuff[category.id] = number
            merged[painted] = number
        areas = torch.bincount(merged.flatten(), minlength=len(segments) + 1).tolist()
        counted = [Segment(s.id, s.category_id, s.is_thing, s.score, areas[s.id]) for s in segments]
        return merged.cpu().numpy(), counted


def fused_attention(queries: Tensor, keys: Tensor, values: Tensor, scores_added: Tensor | None) -> Tensor:
    """Attention [B, heads, tokens, d] in PyTorch's one kernel, which who runs it eagerly would use."""
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=scores_added, scale=1.0)
