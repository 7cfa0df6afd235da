"""The card of a wrapped file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx
import onnxruntime
from onnx import ModelProto

from segopt.errors import ExportError
from segopt.files.hashing import sha256_of_file
from segopt.model.card import Card, Mode, PasteRule, WeightsOrigin
from segopt.model.categories import Category
from segopt.version import __version__
from segopt_export.onnx_file.checks import half_share
from segopt_export.wrapping.request import WrapRequest


@dataclass(frozen=True)
class Subject:
    """What a wrapped network tells of its pictures."""

    mode: Mode
    categories: tuple[Category, ...]
    max_detections: int = 0
    mask_paste: PasteRule = "torchvision"
    mask_size: tuple[int, int] | None = None
    """Height and width in cells of masks over the whole canvas."""


def make_card(
    request: WrapRequest,
    subject: Subject,
    canvas: tuple[int, int],
    network: ModelProto,
    settings: Mapping[str, Any],
) -> Card:
    """The card of one wrapped network.

    Args:
        request: what was asked.
        subject: what the network tells.
        canvas: height and width in pixels.
        network: as it will be in the file.
        settings: what it takes to read the original file again.
    """
    path, mode = request.model, subject.mode
    mean, std = request.normalization
    share = half_share(network)
    return checked(
        Card(
            mode=mode,
            networks={mode: path.stem},
            canvas=canvas,
            batch=request.batch,
            precision=_precision(network, share),
            categories={mode: subject.categories},
            weights={mode: WeightsOrigin(path.name, sha256_of_file(path))},
            max_detections=subject.max_detections,
            mask_paste=subject.mask_paste,
            mask_size=subject.mask_size,
            mean=mean,
            std=std,
            resize=request.resize or "letterbox",
            padding=request.padding,
            target=request.target,
            half_share=share,
            settings={mode: settings},
            versions=versions(),
        )
    )


def with_precision(card: Card, network: ModelProto, float_layers: Sequence[str]) -> Card:
    """The card of a network that was brought to half precision.

    Args:
        card: of the network in single precision.
        network: in half.
        float_layers: its layers that stayed in single precision.
    """
    share = half_share(network)
    return replace(card, precision=_precision(network, share), half_share=share, float_layers=tuple(float_layers))


def versions() -> dict[str, str]:
    """The software that makes a file."""
    return {"segopt": __version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def checked(card: Card) -> Card:
    """The card as it will be read again: what cannot be is found out before the work.

    Raises:
        ExportError: it has no classes.
    """
    if not all(card.categories.values()):
        raise ExportError(
            "none of the classes is one of objects; name those that the network finds with --classes"
        )
    return Card.from_json(card.to_json(), source="the new card")


def _precision(model: ModelProto, share: float) -> str:
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    return "fp16" if share > 0 else "fp32"
