"""Checkpoints of other libraries: their names and layouts to ours, every tensor accounted for on both sides."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from segopt.errors import ExportError
from segopt.model.card import IMAGENET_STD

Change = Callable[[Tensor, Tensor], Tensor]
"""A tensor of theirs, and ours whose shape it must get -> the tensor in our layout."""

_MAX_LISTED = 8


@dataclass(frozen=True)
class KeyMap:
    """How a library's checkpoints become ours."""

    library: str
    """For messages."""
    names: Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
    """Patterns of our names, and what the library writes in their place."""
    not_weights: re.Pattern[str]
    """Names of tensors that hold no weights."""
    changes: Mapping[str, Change]
    """By the layer's name there, where the layout differs."""

    def name(self, ours: str) -> str:
        """What the library calls a tensor of ours."""
        for pattern, replacement in self.names:
            ours = re.sub(pattern, replacement, ours)
        return ours

    def weights_in(self, state: Mapping[str, Tensor]) -> set[str]:
        """The names in a checkpoint that are of weights."""
        return {name for name in state if not self.not_weights.fullmatch(name)}

    def parts_of(self, state: Mapping[str, Tensor]) -> str:
        """The parts that a checkpoint has, for messages."""
        parts = sorted({".".join(name.split(".")[:2]) for name in self.weights_in(state)})
        return ", ".join(parts[:_MAX_LISTED]) + (", ..." if len(parts) > _MAX_LISTED else "")

    def translate(
        self, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path
    ) -> dict[str, Tensor]:
        """Translate a checkpoint.

        Args:
            state: the library's state dict.
            wanted: state dict of our network with as many classes, of which names and shapes are used.
            path: of the checkpoint, for messages.

        Returns:
            A state dict with the names and shapes of ``wanted``.

        Raises:
            ExportError: tensors are missing, left over or of another shape.
        """
        ours = {self.name(name): name for name in wanted}
        given = self.weights_in(state)
        missing = [f"{name} is missing" for name in ours if name not in state]
        extra = [f"{name} is not of this network" for name in state if name in given and name not in ours]
        translated, misshapen = {}, []
        for name in ours.keys() & state.keys():
            shape = wanted[ours[name]].shape
            tensor = translated[ours[name]] = self._change(name, state[name], wanted[ours[name]])
            if tensor.shape != shape:
                misshapen.append(f"{name} is {list(state[name].shape)}, which makes no {list(shape)}")
        if problems := [*missing, *extra, *sorted(misshapen)]:
            shown = "; ".join(problems[:_MAX_LISTED])
            more = f"; and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
            raise ExportError(
                f"{path}: {len(problems)} of this {self.library} checkpoint's tensors misfit: {shown}{more}"
            )
        return translated

    def _change(self, name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
        tensor = tensor.to(torch.float32)
        change = self.changes.get(name.rpartition(".")[0])
        return tensor if change is None or tensor.ndim == 0 else change(tensor, wanted)


def from_pixels(std: Sequence[float], *, bgr: bool) -> Change:
    """The first convolution of a network that takes pixels of 0 to 255, minus ImageNet's mean, divided by ``std``.

    Here pictures are RGB from 0 to 1, normalized by ImageNet's mean and deviation. Means are the same color, so
    the convolution takes up the rest and padding stays zero.

    Args:
        std: of the three channels, in their order.
        bgr: whether blue comes first.
    """
    # In double precision: torchvision's own deviation times 255 must give a factor of exactly 1.
    factor = 255 * torch.tensor(IMAGENET_STD, dtype=torch.float64)
    factor = factor / torch.tensor([*std][:: -1 if bgr else 1], dtype=torch.float64)

    def change(weight: Tensor, wanted: Tensor) -> Tensor:  # noqa: ARG001
        if weight.ndim != 4 or weight.shape[1] != 3:
            return weight
        rgb = weight.flip(1) if bgr else weight
        return rgb * factor.to(torch.float32).reshape(3, 1, 1)

    return change


def last_first(rows: Tensor, wanted: Tensor) -> Tensor:  # noqa: ARG001
    """What a classifier has last, its background or "things", comes first here."""
    return rows.roll(1, dims=0)


def with_background_boxes(rows: Tensor, wanted: Tensor) -> Tensor:
    """Four rows for each foreground class, or four for all of them -> four for each class, zero for background."""
    if len(rows) == 4:
        rows = rows.repeat(len(wanted) // 4 - 1, *([1] * (rows.ndim - 1)))
    return torch.cat((torch.zeros_like(rows[:4]), rows))


def with_background_mask(rows: Tensor, wanted: Tensor) -> Tensor:
    """One row for each foreground class, or one for all of them -> one for each class, zero for background."""
    if len(rows) == 1:
        rows = rows.repeat(len(wanted) - 1, *([1] * (rows.ndim - 1)))
    return torch.cat((torch.zeros_like(rows[:1]), rows))
