"""Gives a detector the head widths that a checkpoint was trained with.

torchvision's tutorial lets everybody choose the hidden layer of ``MaskRCNNPredictor``, and its classes take any
number of layers of any width. The tensors' shapes tell both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

MAX_WIDTH = 1024
MAX_LAYERS = 8
"""Of a mask head; more is not read, so that a file which claims them gets no memory."""


def adopt_head_widths(model: Any, state: Mapping[str, Tensor]) -> None:
    """Rebuild the mask and box heads of a detector, in place, where a checkpoint has other widths.

    Heads of other classes than torchvision's, and networks without them, are left as they are.

    Args:
        model: the untrained network.
        state: the checkpoint, with today's names.
    """
    heads = getattr(model, "roi_heads", None)
    if heads is None:
        return
    if isinstance(heads.mask_head, MaskRCNNHeads) and isinstance(heads.mask_predictor, MaskRCNNPredictor):
        _adopt_mask_head(heads, state)
    if isinstance(heads.box_head, TwoMLPHead) and isinstance(heads.box_predictor, FastRCNNPredictor):
        _adopt_box_head(heads, state)


def _adopt_mask_head(heads: Any, state: Mapping[str, Tensor]) -> None:
    own = [block[0].weight.shape[0] for block in heads.mask_head]
    inputs, classes = heads.mask_head[0][0].weight.shape[1], heads.mask_predictor.mask_fcn_logits.out_channels
    hidden = heads.mask_predictor.conv5_mask.out_channels
    given: list[int] = []
    for i in range(MAX_LAYERS):
        if (width := _width(state, f"roi_heads.mask_head.{i}.0.weight", axis=0)) is None:
            break
        given.append(width)
    given_hidden = _width(state, "roi_heads.mask_predictor.conv5_mask.weight", axis=1) or hidden
    if given and given != own:
        with_norms = any(isinstance(module, nn.BatchNorm2d) for module in heads.mask_head.modules())
        heads.mask_head = MaskRCNNHeads(inputs, given, 1, norm_layer=nn.BatchNorm2d if with_norms else None)
    if given and (given[-1], given_hidden) != (own[-1], hidden):
        heads.mask_predictor = MaskRCNNPredictor(given[-1], given_hidden, classes)


def _adopt_box_head(heads: Any, state: Mapping[str, Tensor]) -> None:
    own, classes = heads.box_head.fc6.out_features, heads.box_predictor.cls_score.out_features
    width = _width(state, "roi_heads.box_head.fc6.weight", axis=0, largest=4 * MAX_WIDTH)
    if width is not None and width != own:
        heads.box_head = TwoMLPHead(heads.box_head.fc6.in_features, width)
        heads.box_predictor = FastRCNNPredictor(width, classes)


def _width(state: Mapping[str, Tensor], name: str, *, axis: int, largest: int = MAX_WIDTH) -> int | None:
    tensor = state.get(name)
    if tensor is None or tensor.ndim <= axis or not 1 <= tensor.shape[axis] <= largest:
        return None
    return tensor.shape[axis]
