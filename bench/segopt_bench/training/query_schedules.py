"""How a query network's rates and masks change over its training, as the authors of EoMT have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from segopt_export.networks.eomt import EoMT

_POWER = 0.9
"""Of the polynomials by which rates and masks fall."""
_FIRST, _LAST, _LENGTH = 1 / 6, 2 / 3, 1 / 6
"""Shares of the training: when the first and the last block begin to lose their masks, and how long each takes."""
ENCODER = ("embeddings.", "layers.", "layernorm.")
"""Beginnings of the names of what a pretrained encoder has."""


@dataclass(frozen=True)
class Warmup:
    """Steps in which rates rise from 0, and in which a pretrained encoder is not yet touched."""

    heads: int
    """Of what no encoder has: queries and what follows them."""
    encoder: int
    delay: int = 0
    """So many steps the encoder waits, until the heads know something."""

    def shortened(self, steps: int) -> Warmup:
        """For a training of so many steps: in all at most a tenth of them."""
        scale = min(1.0, 0.1 * steps / max(1, self.heads, self.delay + self.encoder))
        return Warmup(*(int(part * scale) for part in (self.heads, self.encoder, self.delay)))


def rate_share(step: int, steps: int, warm: int, delay: int = 0) -> float:
    """Share of the full rate at a step: 0 while it waits, up along a line, then down along a polynomial."""
    begun = step - delay
    if begun < 0:
        return 0.0
    if begun < warm:
        return (begun + 1) / (warm + 1)
    left = steps - delay - warm
    return float(max(0.0, 1 - (begun - warm) / max(1, left)) ** _POWER)


def mask_probabilities(step: int, steps: int, blocks: int) -> list[float]:
    """Probability, block by block, that a query attends inside of its mask alone: 1 at first, 0 in the end.

    The first block loses its masks from a sixth of the training on, the last one until five sixths; a network
    without masks needs none when it runs.
    """
    shares = []
    for block in range(blocks):
        begin = _FIRST + (_LAST - _FIRST) * block / max(1, blocks - 1)
        progress = (step / steps - begin) / _LENGTH
        shares.append(float((1 - min(1.0, max(0.0, progress))) ** _POWER))
    return shares


def parameter_groups(model: EoMT, rate: float, layer_decay: float) -> list[dict[str, Any]]:
    """Parameters with their full rates, for an optimizer; ``encoder`` says what belongs to the encoder.

    Args:
        model: the network.
        rate: of the heads and of the last layer.
        layer_decay: the rate of each layer in that of the one above it; what stands below the layers has that of
            the first.
    """
    found: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        above = model.shape.layers - 1 - _depth(name, model.shape.layers)
        key = (name.startswith(ENCODER), rate * layer_decay**above)
        found.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "lr": full, "full": full, "encoder": encoder}
        for (encoder, full), parameters in found.items()
    ]


def set_rates(groups: Sequence[dict[str, Any]], step: int, steps: int, warm: Warmup) -> None:
    """Give an optimizer's groups, of :func:`parameter_groups`, their rates for a step."""
    for group in groups:
        encoder = group["encoder"]
        share = rate_share(step, steps, warm.encoder if encoder else warm.heads, warm.delay if encoder else 0)
        group["lr"] = group["full"] * share


def _depth(name: str, layers: int) -> int:
    """The layer that a parameter has the rate of."""
    if name.startswith("embeddings."):
        return 0
    return int(name.split(".")[1]) if name.startswith("layers.") else layers - 1
