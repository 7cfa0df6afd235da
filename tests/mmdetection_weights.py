"""Checkpoints of mmdetection from a seed and a few recorded numbers, the same on any machine.

As :mod:`detectron2_weights` makes them; layers are taken for what they are called there.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

import detectron2_weights

COUNTER = ".num_batches_tracked"
_ALIKE = (
    (r"bn(\d)\.", r"conv\1.norm."),
    (r"downsample\.1\.", "shortcut.norm."),
    (r"\.gn\.", ".norm."),
    (r"mask_head\.upsample", "mask_head.deconv"),
)


def alike(name: str) -> str:
    """A name that says what kind of layer it is, as Detectron2's do."""
    for pattern, replacement in _ALIKE:
        name = re.sub(pattern, replacement, name)
    return name


def lively_state(
    shapes: Mapping[str, tuple[int, ...]], recorded: Mapping[str, np.ndarray]
) -> dict[str, torch.Tensor]:
    """A state dict in mmdetection's own names; see :func:`detectron2_weights.lively_state`."""
    names = {alike(name): name for name in shapes if not name.endswith(COUNTER)}
    state = detectron2_weights.lively_state(
        {name: shapes[theirs] for name, theirs in names.items()},
        {alike(name): values for name, values in recorded.items()},
    )
    counters = {name: torch.zeros((), dtype=torch.int64) for name in shapes if name.endswith(COUNTER)}
    return {names[name]: torch.from_numpy(tensor) for name, tensor in state.items()} | counters


def write_checkpoint(path: Path, state: Mapping[str, torch.Tensor], **meta: object) -> Path:
    """A file as mmdetection's tools publish them."""
    torch.save({"meta": meta, "state_dict": dict(state)}, path)
    return path
