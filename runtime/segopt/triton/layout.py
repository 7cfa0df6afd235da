"""What is where in a model repository, and what its parts say to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from segopt.model.card import Card
from segopt.model.tensors import TensorSpec, input_specs, output_specs

CARD_NAME = "card.json"
VERSION = "1"

PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "mode": str,
    "score_threshold": float,
    "overlap_threshold": float,
    "stuff_area": int,
}
"""Options of a front, each a parameter in its configuration; an empty one is the model's own."""

TRITON_TYPES: Mapping[np.dtype[Any], str] = {
    np.dtype(np.uint8): "TYPE_UINT8",
    np.dtype(np.int32): "TYPE_INT32",
    np.dtype(np.int64): "TYPE_INT64",
    np.dtype(np.float16): "TYPE_FP16",
    np.dtype(np.float32): "TYPE_FP32",
    np.dtype(np.bool_): "TYPE_BOOL",
}


def network_name(front: str, batch: int) -> str:
    """What the network of a front is called; those of larger batches say so."""
    return f"{front}_network" if batch == 1 else f"{front}_network_b{batch}"


def specs_from(card: Card, mask_side: int) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Inputs and outputs of a network, by name."""
    return input_specs(card), output_specs(card, mask_side)
