"""What a user is told of a file in INT8. Needs no PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segopt_export.precision.int8 import Quantized

DECIDES = "decides: the last layer of a head"
"""Why a layer stays in floating point whatever it would lose."""
_SHOWN = 3


def notes_on_quantized(quantized: Quantized, rest: str) -> list[str]:
    """What of a graph became INT8, the precision of the rest, and what else was to be had, where that is known."""
    loud = [name for name, why in quantized.float_layers.items() if why != DECIDES]
    shown = ", ".join(loud[:_SHOWN]) + (f", and {len(loud) - _SHOWN} more" if len(loud) > _SHOWN else "")
    reason = "noise" if quantized.choice is None else "loss"
    notes = [
        f"{quantized.layers} of {quantized.layers + len(quantized.float_layers)} layers compute in INT8; "
        f"the heads' last ones stay in {rest}{f', and for their {reason} {shown}' if loud else ''}"
        f"{f'; so do {quantized.shortcuts} shortcuts' if quantized.shortcuts else ''}"
    ]
    if quantized.choice is not None:
        notes.append(f"INT8: {quantized.choice}")
        notes += [
            f"INT8 trade-off: {point.layers} layers save {100 * point.saved:.0f}% and lose {point.lost:.2f} points"
            for point in quantized.choice.trade_off
        ]
    return notes
