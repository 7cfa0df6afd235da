"""Mask R-CNN with fixed shapes: torchvision's modules, run without any data-dependent shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNPredictor

from segopt_export.dense_pool import DenseRoIPool
from segopt_export.dense_roi_align import DenseRoIAlign
from segopt_export.detections import DetectionStage
from segopt_export.graph import GraphBranch
from segopt_export.panoptic_fpn import PanopticFPN
from segopt_export.proposals import ProposalStage
from segopt_export.roi_align import GatherReader, GridReader, PyramidRoIAlign, Reader, Size
from segopt_export.suppression import suppress

Target = Literal["cpu", "tensorrt"]

SUPPRESSION_BLOCKS: dict[Target, int | None] = {"cpu": 500, "tensorrt": None}
"""Boxes that suppression settles at a time: small matrices stay in a CPU's cache, few operators suit a GPU."""

READERS: dict[Target, Callable[[Sequence[Size]], Reader]] = {"cpu": GatherReader, "tensorrt": GridReader}


@dataclass(frozen=True)
class DetectionLimits:
    """Sizes that a static graph fixes."""

    max_detections: int = 100
    candidates: int = 2000
    """(proposal, class) pairs that enter the last suppression; TensorRT's TopK takes at most 3840."""
    suppression_steps: int = 20


class StaticMaskRCNN(GraphBranch):
    """A trained Mask R-CNN of torchvision's parts, or that of a Panoptic FPN, as a static graph for one canvas.

    Args:
        model: the network, in eval mode.
        canvas: height and width of the input in pixels, multiples of 32.
        limits: sizes of the graph.
        target: what the graph is made fast for; it runs on both.
        label_ids: what ``labels`` says of each of the network's classes, background first; None are their indices.
    """

    output_names = ("boxes", "scores", "labels", "masks", "converged")
    label_ids: Tensor | None

    def __init__(
        self,
        model: MaskRCNN | PanopticFPN,
        canvas: Size,
        *,
        limits: DetectionLimits = DetectionLimits(),
        target: Target = "cpu",
        label_ids: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        heads = model.roi_heads
        self.backbone = model.backbone
        sizes = _feature_sizes(model.backbone, canvas)
        suppress_so = partial(suppress, steps=limits.suppression_steps, block=SUPPRESSION_BLOCKS[target])
        self.proposals = ProposalStage(model.rpn, canvas, list(sizes.values()), suppress=suppress_so)
        self.pooled_levels = list(heads.box_roi_pool.featmap_names)
        pooled_sizes = [sizes[name] for name in self.pooled_levels]
        dense = isinstance(heads.box_roi_pool, DenseRoIPool)
        self.reader = GatherReader(pooled_sizes) if dense else READERS[target](pooled_sizes)
        self.box_pool = self._static_pool(heads.box_roi_pool, pooled_sizes, canvas)
        self.box_head = heads.box_head
        if isinstance(heads.box_head, TwoMLPHead):
            self.box_head = CellwiseBoxHead(heads.box_head, heads.box_roi_pool.output_size[0])
        self.box_predictor = heads.box_predictor
        self.detections = DetectionStage(
            heads,
            canvas,
            max_detections=limits.max_detections,
            candidates=limits.candidates,
            suppress=suppress_so,
        )
        self.mask_pool = self._static_pool(heads.mask_roi_pool, pooled_sizes, canvas)
        self.mask_head = heads.mask_head
        self.mask_predictor = MaskOfLabel(heads.mask_predictor)
        same = label_ids is None or list(label_ids) == list(range(len(label_ids)))
        self.register_buffer("label_ids", None if same else torch.tensor(label_ids), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detect.

        Args:
            image: float32 [B, 3, H, W], RGB, normalised.

        Returns:
            ``boxes`` float32 [B, D, 4], ``scores`` float32 [B, D], ``labels`` int32 [B, D], ``masks`` float32
            [B, D, 28, 28] and ``converged`` int32 [B], as the contract in the README has them.
        """
        return self.detect(self.backbone(image))

    def detect(self, features: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The same from the pyramid's levels by name, float [B, C, h, w]."""
        proposals, valid, proposals_converged = self.proposals(list(features.values()))
        # Sample points need single precision, and TensorRT's GridSample wants features of the points' type.
        pyramid = self.reader.pack([features[name] for name in self.pooled_levels]).to(torch.float32)

        hidden = self.box_head(self.box_pool(pyramid, proposals))
        logits, deltas = self.box_predictor(hidden)
        boxes, scores, labels, detections_converged = self.detections(logits, deltas, proposals, valid)

        masks = self.mask_predictor(self.mask_head(self.mask_pool(pyramid, boxes)), labels.flatten())
        masks = masks.reshape(*labels.shape, *masks.shape[-2:])
        converged = proposals_converged & detections_converged
        if self.label_ids is not None:
            labels = self.label_ids[labels]
        return boxes, scores, labels.to(torch.int32), masks, converged.to(torch.int32)

    def _static_pool(self, pool: nn.Module, sizes: Sequence[Size], canvas: Size) -> nn.Module:
        if isinstance(pool, DenseRoIPool):
            return DenseRoIAlign(pool, sizes, canvas)
        return PyramidRoIAlign(pool, sizes, canvas, self.reader)


class CellwiseBoxHead(nn.Module):
    """torchvision's ``TwoMLPHead``, reading the channels of a cell side by side.

    That is how :class:`segopt_export.roi_align.GatherReader` leaves them: with the first layer's weights in that
    order, 50 MB for 1000 boxes need not be transposed.

    Args:
        head: the trained head.
        bins: P, of its P x P cells.
    """

    def __init__(self, head: TwoMLPHead, bins: int) -> None:
        super().__init__()
        trained: Any = head.fc6
        by_channel = trained.weight.detach().unflatten(1, (-1, bins * bins))
        self.fc6 = nn.Linear(trained.in_features, trained.out_features, device="meta")
        self.fc6.weight = nn.Parameter(by_channel.transpose(1, 2).flatten(1), requires_grad=False)
        self.fc6.bias = trained.bias
        self.fc7 = head.fc7

    def forward(self, pooled: Tensor) -> Tensor:
        """float [R, C, P, P] -> float [R, F]."""
        hidden = self.fc6(pooled.permute(0, 2, 3, 1).flatten(1)).relu()
        features: Tensor = self.fc7(hidden).relu()
        return features


class MaskOfLabel(nn.Module):
    """Mask predictor that computes the channel of each detection's own class and no other.

    torchvision computes a mask for each of 91 classes and throws 90 away; picking the last layer's weights by
    label gives the same numbers from one channel. Its deconvolution has strides as long as its kernel, so no two
    of its products overlap: it is a 1x1 convolution to the four pixels that each cell becomes, and only the
    finished masks need to be put in the order of pixels.

    Args:
        predictor: ``MaskRCNNPredictor``: a 2x2 deconvolution with stride 2, ReLU and a 1x1 convolution to the
            classes.
    """

    def __init__(self, predictor: MaskRCNNPredictor) -> None:
        super().__init__()
        trained: Any = predictor.conv5_mask
        # [C, F, 2, 2] -> [4 F, C, 1, 1]
        weight = trained.weight.detach().permute(2, 3, 1, 0).flatten(0, 2)[..., None, None]
        self.conv5_mask = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device="meta")
        self.conv5_mask.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.conv5_mask.bias = nn.Parameter(trained.bias.detach().repeat(4), requires_grad=False)
        last: Any = predictor.mask_fcn_logits
        self.weight = nn.Parameter(last.weight.detach().flatten(1), requires_grad=False)
        self.bias = nn.Parameter(last.bias.detach(), requires_grad=False)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """float [R, C, 14, 14] and int64 [R] -> mask probability float [R, 28, 28]."""
        rows, _, height, width = features.shape
        pixels: Tensor = self.conv5_mask(features).relu().reshape(rows, 4, -1, height * width)
        weight = self.weight.to(pixels.dtype)[labels]
        product = (weight[:, None, None, :] @ pixels).to(torch.float32)
        mask = (product + self.bias[labels][:, None, None, None]).sigmoid()
        mask = mask.reshape(rows, 2, 2, height, width).permute(0, 3, 1, 4, 2)
        return mask.reshape(rows, 2 * height, 2 * width)


def _feature_sizes(backbone: nn.Module, canvas: Size) -> dict[str, Size]:
    """Height and width of each feature map, found without computing any."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        features = backbone(torch.empty(1, 3, *canvas))
    return {name: _size(level) for name, level in features.items()}


def _size(feature: Tensor) -> Size:
    height, width = feature.shape[-2:]
    return int(height), int(width)
