"""Query networks as static graphs: the merge of masks is in the graph, and one byte a pixel comes out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segopt.model.tensors import OUTSIDE
from segopt_export.networks.eomt import EoMT, for_canvas
from segopt_export.static.graph import GraphBranch
from segopt_export.static.roi_align import Size

UNUSED = 1e30
"""In place of one over a score where a slot is unused: it loses against every used one."""


class StaticQueries(GraphBranch):
    """A trained :class:`segopt_export.networks.eomt.EoMT` for one canvas.

    Args:
        model: the network, in eval mode; left as it is.
        canvas: height and width of the input in pixels, multiples of the patch's side.
        slots: queries that can be kept in one picture, at most 128.
        label_ids: category id of each class.
        query_score: a query is kept whose class has a larger probability.
        map_scale: sides of the map in those of the canvas, 1 or 2.
    """

    output_names = ("segments", "scores", "labels", "mask_rows", "mask_columns")
    label_ids: Tensor

    def __init__(
        self,
        model: EoMT,
        canvas: Size,
        *,
        slots: int,
        label_ids: Sequence[int],
        query_score: float,
        map_scale: int = 1,
    ) -> None:
        super().__init__()
        self.model = for_canvas(model, canvas)
        self.slots = slots
        self.query_score = query_score
        self.size = (canvas[0] * map_scale, canvas[1] * map_scale)
        # "No object" has an entry, so that the table can be read for every class.
        self.register_buffer("label_ids", torch.tensor([*label_ids, 0], dtype=torch.int32), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """float32 [B, 3, H, W], RGB, normalized -> the contract's tensors, in the order of ``output_names``."""
        queries, patches = self.model.split(self.model.encode(image))
        scores, labels, order = self.kept(self.model.class_predictor(queries).to(torch.float32))
        # Masks are made for the kept queries alone: at 640 x 640 they are half of the work behind the network.
        chosen = queries.gather(1, order[..., None].expand(-1, -1, queries.shape[2]))
        logits = self.model.masks(chosen, patches)
        return self.merge(logits, scores, labels)

    def kept(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The kept queries of class logits [B, Q, classes + 1], the best first.

        Returns:
            ``scores`` float32 [B, K], -1 where there are no more; ``labels`` int32 [B, K], 0 there; and the
            queries' indices int64 [B, K].
        """
        probability, index = logits.softmax(dim=-1).max(dim=-1)
        is_kept = (index < logits.shape[2] - 1) & (probability > self.query_score)
        ranked = torch.where(is_kept, probability, torch.full_like(probability, -1))
        scores, order = ranked.topk(self.slots, dim=1)
        ids = self.label_ids[index.gather(1, order).flatten()].reshape(order.shape)
        return scores, torch.where(scores > 0, ids, torch.zeros_like(ids)), order

    def merge(self, logits: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Mask logits [B, K, h, w] of the kept queries -> who owns each pixel, and how large each mask is."""
        # The largest score x sigmoid(logit) is the smallest 1 / score + exp(-log(score) - logit). ONNX Runtime's
        # sigmoid on a CPU is the same for all logits below -18, and pixels outside of every mask would all go to
        # one query. The exponent is made before the masks are enlarged, sixteen times fewer values.
        used = scores > 0
        inverse = torch.where(used, 1 / scores, torch.full_like(scores, UNUSED))[..., None, None]
        level = inverse.log()
        exponent = F.interpolate(level - logits, size=self.size, mode="bilinear", align_corners=False)
        winner = (exponent.exp() + inverse).argmin(dim=1, keepdim=True)
        owned_level = level.flatten(1).gather(1, winner.flatten(1)).reshape(winner.shape)
        outside = (exponent.gather(1, winner) > owned_level).to(torch.float32)
        inside = exponent.le(level).to(torch.float32)
        rows, columns = (inside.sum(dim=axis) * used[..., None] for axis in (3, 2))
        # TensorRT 10 makes uint8 of floating point alone.
        segments = (winner.to(torch.float32) + OUTSIDE * outside).squeeze(1).to(torch.uint8)
        return segments, scores, labels, rows.to(torch.int32), columns.to(torch.int32)
