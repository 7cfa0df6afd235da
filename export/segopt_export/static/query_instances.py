"""Objects of query networks as static graphs: a mask over the canvas for each query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segopt_export.networks.eomt import EoMT, for_canvas
from segopt_export.static.graph import GraphBranch
from segopt_export.static.roi_align import Size


class StaticQueryInstances(GraphBranch):
    """A trained :class:`segopt_export.networks.eomt.EoMT` as an instance network for one canvas.

    A query's score is the probability of its class times the mean probability of its mask's pixels, as Hugging
    Face's ``post_process_instance_segmentation`` has it. The mean is of the frame's pixels. What lies beside the
    frame is told by its color: rows at the bottom and columns at the right that hold nothing else.

    Args:
        model: the network, in eval mode; left as it is.
        canvas: height and width of the input in pixels, multiples of the patch's side.
        slots: objects of one picture at most.
        label_ids: category id of each class.
        padding: normalized RGB of what lies beside a frame.
    """

    output_names = ("boxes", "scores", "labels", "masks", "converged")
    label_ids: Tensor
    padding: Tensor
    columns: Tensor
    rows: Tensor

    def __init__(
        self, model: EoMT, canvas: Size, *, slots: int, label_ids: Sequence[int], padding: Sequence[float]
    ) -> None:
        super().__init__()
        self.model = for_canvas(model, canvas)
        self.slots = slots
        self.canvas = canvas
        buffers = {
            "label_ids": torch.tensor(label_ids, dtype=torch.int32),
            "padding": torch.tensor(padding, dtype=torch.float32).reshape(3, 1, 1),
            "rows": torch.arange(1, canvas[0] + 1, dtype=torch.float32),
            "columns": torch.arange(1, canvas[1] + 1, dtype=torch.float32),
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """float32 [B, 3, H, W], RGB, normalized -> the contract's tensors, in the order of ``output_names``."""
        queries, patches = self.model.split(self.model.encode(image))
        classes = self.model.class_predictor(queries).to(torch.float32).softmax(dim=-1)[..., :-1]
        scores, labels = classes.max(dim=-1)
        # Masks are made for as many queries as there are slots; a mask only lowers what the class alone says.
        scores, order = scores.topk(self.slots, dim=1)
        labels = self.label_ids[labels.gather(1, order).flatten()].reshape(order.shape)
        chosen = queries.gather(1, order[..., None].expand(-1, -1, queries.shape[2]))
        masks = self.model.masks(chosen, patches)
        quality, boxes = self.measure(masks, self.on_frame(image))
        scores = torch.where(quality > 0, scores * quality, torch.full_like(scores, -1))
        scores, order = scores.topk(self.slots, dim=1)
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4)) * (scores > 0)[..., None]
        masks = masks.gather(1, order[..., None, None].expand(-1, -1, *masks.shape[2:]))
        labels = labels.gather(1, order) * (scores > 0).to(torch.int32)
        converged = torch.ones(image.shape[:1], dtype=torch.int32, device=image.device)
        return boxes, scores, labels, masks, converged

    def on_frame(self, image: Tensor) -> Tensor:
        """1 where the frame is, float32 [B, 1, H, W]."""
        seen = ((image - self.padding).abs() > 1e-4).to(torch.float32).amax(dim=1)
        last_row = (seen.amax(dim=2) * self.rows).amax(dim=1)[:, None, None]
        last_column = (seen.amax(dim=1) * self.columns).amax(dim=1)[:, None, None]
        inside = (self.rows[:, None] <= last_row) & (self.columns <= last_column)
        return inside.to(torch.float32)[:, None]

    def measure(self, logits: Tensor, on_frame: Tensor) -> tuple[Tensor, Tensor]:
        """How sure masks are, and where.

        Args:
            logits: float32 [B, K, h, w].
            on_frame: float32 [B, 1, H, W], 1 where a pixel counts.

        Returns:
            Mean probability of each mask's pixels, float32 [B, K], 0 of an empty one; and their boxes, float32
            [B, K, 4] in pixels of the canvas.
        """
        whole = F.interpolate(logits, size=self.canvas, mode="bilinear", align_corners=False)
        inside = (whole > 0).to(torch.float32) * on_frame
        area = inside.sum(dim=(2, 3))
        quality = (whole.sigmoid() * inside).sum(dim=(2, 3)) / (area + 1e-6)
        down, across = inside.amax(dim=3), inside.amax(dim=2)
        ends = [(across * self.columns).amax(dim=2), (down * self.rows).amax(dim=2)]
        starts = [
            size - (some * (size + 1 - places)).amax(dim=2)
            for some, places, size in (
                (across, self.columns, self.canvas[1]),
                (down, self.rows, self.canvas[0]),
            )
        ]
        return quality, torch.stack([*starts, *ends], dim=2)
