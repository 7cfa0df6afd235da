"""The contract between graph and runtime: names, types and shapes of the tensors that a card promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segopt.errors import EngineError
from segopt.model.card import Card


@dataclass(frozen=True)
class TensorSpec:
    """Type and fixed shape of an input or output."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


DATA_DEPENDENT = frozenset(
    {"NonZero", "NonMaxSuppression", "RoiAlign", "Loop", "If", "Scan", "Unique", "Compress", "SequenceAt"}
)
"""ONNX operators whose shapes or work depend on the image, or that need a plugin. With one of them there is no
CUDA graph, so that no graph of segopt's has one, but for the loop of :data:`MASK_SCORE` in files for a CPU."""

MASK_SCORE = "mask_score"
"""An input that a graph may have and a caller may leave out, float32 []: the lowest score of a detection whose
mask is wanted. Those of others say nothing: they are zeros, or what was in their place."""
MASK_LOOP, MASK_BLOCK = "masks/loop", "masks/block"
"""In such a graph the loop that computes masks, and how many slots each of its turns does."""

MASK_SIDE = 28
"""Cells of a mask, both ways, in the graphs that segopt exports; one of another side is as good."""

MEANINGS: Mapping[str, str] = {
    "image": "BGR, as OpenCV holds a frame",
    "semantic": "class index at canvas resolution",
    "boxes": "x0 y0 x1 y1 in canvas pixels",
    "scores": "descending, negative where unused",
    "labels": "class ids as in the card",
    "masks": "probability inside the box",
    "converged": "1 where suppression is exact",
    "segments": "winning slot, + 128 outside of its mask",
    "mask_rows": "pixels of each slot's mask in each row",
    "mask_columns": "and in each column",
}
OUTSIDE = 128
"""Added to a pixel's slot in ``segments`` where the slot's own mask is below one half."""


def meaning(name: str, card: Card) -> str:
    """What a tensor of a model with this card holds, in a few words."""
    return "logits over the whole canvas" if name == "masks" and card.mask_size is not None else MEANINGS[name]


def input_specs(card: Card) -> dict[str, TensorSpec]:
    """The inputs of a model with this card, by name."""
    return {"image": TensorSpec(np.dtype(np.uint8), (card.batch, *card.canvas, 3))}


def output_specs(card: Card, mask_side: int = MASK_SIDE) -> dict[str, TensorSpec]:
    """The outputs of a model with this card, by name, in the graph's order; masks in boxes are square."""
    b, n = card.batch, card.max_detections
    if card.merge == "queries":
        height, width = (side * card.map_scale for side in card.canvas)
        return {
            "segments": TensorSpec(np.dtype(np.uint8), (b, height, width)),
            "scores": TensorSpec(np.dtype(np.float32), (b, n)),
            "labels": TensorSpec(np.dtype(np.int32), (b, n)),
            "mask_rows": TensorSpec(np.dtype(np.int32), (b, n, height)),
            "mask_columns": TensorSpec(np.dtype(np.int32), (b, n, width)),
        }
    semantic = {"semantic": TensorSpec(np.dtype(np.uint8), (b, *card.canvas))}
    instance = {
        "boxes": TensorSpec(np.dtype(np.float32), (b, n, 4)),
        "scores": TensorSpec(np.dtype(np.float32), (b, n)),
        "labels": TensorSpec(np.dtype(np.int32), (b, n)),
        "masks": TensorSpec(np.dtype(np.float32), (b, n, *(card.mask_size or (mask_side, mask_side)))),
        "converged": TensorSpec(np.dtype(np.int32), (b,)),
    }
    return {"semantic": semantic, "instance": instance, "panoptic": {**semantic, **instance}}[card.mode]


def check_tensors(card: Card, found: Mapping[str, TensorSpec], path: object) -> None:
    """Compare a graph's inputs and outputs with what its card promises.

    Args:
        card: of the model.
        found: inputs and outputs of the loaded graph, by name; more than the promised ones is no fault. Masks
            may have any side.
        path: of the model file, or what else names it in the message.

    Raises:
        EngineError: one is missing, or has another type or shape.
    """
    # Of masks in boxes the card does not say how many cells they have: the graph does.
    masks = found.get("masks")
    mask_side = masks.shape[-1] if masks is not None and masks.shape and masks.shape[-1] > 0 else MASK_SIDE
    for name, spec in {**input_specs(card), **output_specs(card, mask_side)}.items():
        if found.get(name) != spec:
            raise EngineError(
                f"{path}: its card promises {name} as {spec}, the graph has {found.get(name, 'none')}; "
                "export the model again"
            )
