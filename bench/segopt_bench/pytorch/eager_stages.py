"""What the two ways of running a card's networks eagerly share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from segopt.frame import Frame
from segopt.letterbox import Prepared, letterbox_frames
from segopt.model.card import Card
from segopt.stages import Stages


class EagerStages(Stages):
    """The steps up to the networks' answers. Resizing is the letterbox's: both sides see the same canvas.

    Args:
        card: of the exported model.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        half: run in mixed half precision (autocast), which is for a GPU.
    """

    def __init__(self, card: Card, *, device: str, half: bool) -> None:
        self.card = card
        self._device = torch.device(device)
        self._half = half

    @property
    def batch(self) -> int:
        """How many frames it takes at once."""
        return self.card.batch

    def prepare(self, frames: Sequence[Frame]) -> Prepared:
        """Letterbox, as the runtime does."""
        return letterbox_frames(frames, self.card)

    def infer(self, prepared: Prepared) -> list[Any]:
        """One answer for each slot of the batch, on the device."""
        half = torch.autocast(self._device.type, dtype=torch.float16) if self._half else nullcontext()
        with torch.inference_mode(), half:
            bgr = torch.from_numpy(prepared.image).to(self._device)
            answers = self._answers(bgr.flip(-1).permute(0, 3, 1, 2).contiguous().float().div(255))
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return answers

    @abstractmethod
    def _answers(self, rgb: Tensor) -> list[Any]:
        """Run the networks on float32 [B, 3, H, W], 0 to 1."""

    def _normalization(self, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Both as [3, 1, 1] on the device."""
        of_mean, of_std = (torch.tensor(each, device=self._device).reshape(3, 1, 1) for each in (mean, std))
        return of_mean, of_std
