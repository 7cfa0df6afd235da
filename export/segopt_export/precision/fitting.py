"""The precision of an export: from the graph in single precision to the one that is traced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from segopt.errors import ExportError
from segopt_export.precision.calibration import Pictures, read_pictures
from segopt_export.precision.half import in_half
from segopt_export.static.graph import SegmentationGraph

Precision = Literal["fp32", "fp16", "int8"]

_SHOWN = 3
_LOOKED_AT = 8
"""Pictures on which half precision is tried under INT8; its scales come from all."""


@dataclass(frozen=True)
class Fitted:
    """A graph in the precision that was asked for."""

    graph: SegmentationGraph
    example: Tensor
    """uint8 BGR [B, H, W, 3], a picture for each frame of a batch, to trace the graph with."""
    pictures: list[Tensor] = field(default_factory=list)
    """uint8 BGR [B, H, W, 3] each: those that values are to be looked at on."""
    float_layers: tuple[str, ...] = ()
    """Layers that stay in FP32 in a half-precision graph."""
    notes: list[str] = field(default_factory=list)
    """What a user should know of it."""


def fit_to_half(
    graph: SegmentationGraph, example: Tensor, *, calibration: Pictures | None, mean: Sequence[float]
) -> Fitted:
    """Bring a graph to half precision.

    Args:
        graph: in single precision; left as it is.
        example: uint8 BGR [B, H, W, 3], synthetic images of the canvas's size, for want of others.
        calibration: the pictures that layers' values are looked at on; None takes the first of
            ``example``.
        mean: RGB, of pixels scaled to 0..1: the letterbox's color.

    Raises:
        SourceError: the pictures cannot be read.
    """
    if calibration is None:
        pictures = [example[:1]]
        notes = ["half precision was tried on a synthetic image; --calibration FOLDER tries it on your own"]
    else:
        batch, height, width, _ = example.shape
        pictures, unread = read_pictures(calibration, (height, width), mean)
        example = torch.cat([pictures[i % len(pictures)] for i in range(batch)])
        notes = [f"half precision was tried on {count_of(pictures)}{_of(calibration)}"]
        notes += [] if unread is None else [str(unread)]
    half, beyond = in_half(graph, pictures)
    return Fitted(half, example, float_layers=tuple(beyond), notes=notes + _note_on_float_layers(beyond))


def pictures_for_int8(
    graph: SegmentationGraph, example: Tensor, *, calibration: Pictures | None, mean: Sequence[float], random: bool
) -> Fitted:
    """The pictures that a graph's INT8 scales come from; the graph itself stays as it is.

    Args:
        graph: in single precision.
        example: uint8 BGR [B, H, W, 3], synthetic images of the canvas's size.
        calibration: the pictures; random weights alone can do without.
        mean: RGB, of pixels scaled to 0..1: the letterbox's color.
        random: whether the weights are random.

    Raises:
        ExportError: there are no pictures.
        SourceError: the pictures cannot be read.
    """
    if calibration is None:
        if not random:
            raise ExportError(
                "INT8 takes its scales from pictures: give --calibration FOLDER, a few dozen like the later ones"
            )
        return Fitted(graph, example, [example], notes=["INT8 scales come from a synthetic image"])
    batch, height, width, _ = example.shape
    pictures, unread = read_pictures(calibration, (height, width), mean)
    starts = range(0, len(pictures), batch)
    batches = [torch.cat([pictures[(start + i) % len(pictures)] for i in range(batch)]) for start in starts]
    notes = [f"INT8 scales come from {count_of(pictures)}{_of(calibration)}"]
    return Fitted(graph, batches[0], batches, notes=notes + ([] if unread is None else [str(unread)]))


def rest_in_half(fitted: Fitted) -> Fitted:
    """The same with the graph in half precision: TensorRT takes what does not become INT8 as the graph has it.

    Args:
        fitted: from :func:`pictures_for_int8`.
    """
    half, beyond = in_half(fitted.graph, fitted.pictures[:_LOOKED_AT])
    return replace(fitted, graph=half, notes=fitted.notes + _note_on_float_layers(beyond))


def count_of(pictures: Sequence[Tensor] | Tensor) -> str:
    """For people."""
    return "1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures"


def _of(source: Pictures) -> str:
    return f" of {source}" if isinstance(source, str) else ""


def _note_on_float_layers(beyond: Mapping[str, str]) -> list[str]:
    if not beyond:
        return []
    shown = [f"{name} {reason}" for name, reason in list(beyond.items())[:_SHOWN]]
    more = [f"and {len(beyond) - _SHOWN} more"] if len(beyond) > _SHOWN else []
    layers = "1 layer stays" if len(beyond) == 1 else f"{len(beyond)} layers stay"
    return [f"{layers} in FP32, out of half's range: {', '.join(shown + more)}"]
