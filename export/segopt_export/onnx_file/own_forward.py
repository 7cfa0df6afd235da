"""Does the static graph say what a network of the user's own says by its own forward?

For the networks of the table, tests answer that. A network from elsewhere may have a part that goes about its work
in another way than its class tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from segopt.agreement import Figure, compare
from segopt.errors import ExportError
from segopt_export.classes import label_ids
from segopt_export.networks.parts import MASK_SIDE, levels_of
from segopt_export.networks.settings import is_detector
from segopt_export.networks.table import Branch
from segopt_export.static.build import normalization_of
from segopt_export.static.graph import Normalize, SegmentationGraph
from segopt_export.weights.loading import Trained

Arrays = dict[str, NDArray[Any]]


def check_own_forward(graph: SegmentationGraph, trained: Mapping[Branch, Trained], image: Tensor) -> list[Figure]:
    """Run live detectors by their own forward, and the static graph, on one picture.

    A semantic network's own forward is what the graph runs, so there is nothing to compare.

    Args:
        graph: of these networks, in single precision.
        trained: the networks.
        image: uint8 BGR [1, H, W, 3].

    Returns:
        The figures, all of them good.

    Raises:
        ExportError: they disagree.
    """
    figures: list[Figure] = []
    for network in trained.values():
        if network.network.module is None or not is_detector(network.model):
            continue
        with torch.no_grad():
            outputs = dict(zip(graph.output_names, (tensor.numpy() for tensor in graph(image)), strict=True))
        if not outputs["converged"].all():
            continue
        found = {name: outputs[name] for name in ("boxes", "scores", "labels", "masks", "converged")}
        expected = _own_answer(network, image, slots=found["scores"].shape[1])
        bad = [figure for figure in compare(expected, found) if not figure.good]
        if bad:
            raise ExportError(
                f"{network.network.name}: its own forward and the static graph disagree ("
                + "; ".join(f"{figure.name} {figure.text}" for figure in bad)
                + "); a part of it works otherwise than torchvision's of its class, which no static graph carries"
            )
        count = np.count_nonzero(expected["scores"] >= 0)
        figures.append(Figure("own forward", f"{count} of {count} detections found again", True))
    return figures


def _own_answer(network: Trained, image: Tensor, *, slots: int) -> Arrays:
    """The detector's own answer in the form of the contract's tensors."""
    model: Any = network.model
    size = (int(image.shape[1]), int(image.shape[2]))
    normalize = Normalize(*normalization_of(network))
    with torch.no_grad():
        picture = normalize(image)
        features = levels_of(model.backbone(picture))
        proposals, _ = model.rpn(ImageList(picture, [size]), features)
        (answer,), _ = model.roi_heads(features, proposals, [size])
    ids = torch.tensor(label_ids(network.classes))
    count = min(slots, len(answer["scores"]))
    boxes, scores = np.zeros((1, slots, 4), np.float32), np.full((1, slots), -1, np.float32)
    labels, masks = np.zeros((1, slots), np.int32), np.zeros((1, slots, MASK_SIDE, MASK_SIDE), np.float32)
    boxes[0, :count], scores[0, :count] = answer["boxes"][:count].numpy(), answer["scores"][:count].numpy()
    labels[0, :count] = ids[answer["labels"][:count]].numpy()
    masks[0, :count] = answer["masks"][:count, 0].numpy()
    return {
        "boxes": boxes,
        "scores": scores,
        "labels": labels,
        "masks": masks,
        "converged": np.ones(1, np.int32),
    }
