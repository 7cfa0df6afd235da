"""One self-contained ONNX file with the card inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from segopt.errors import ExportError, first_line
from segopt.files.atomic import make_folder, replacing
from segopt.model.card import METADATA_KEY, Card

_LARGEST = 2**31 - 1
"""A protobuf message, and so an ONNX file without side files, is at most 2 GiB."""


def add_card(model: onnx.ModelProto, card: Card) -> None:
    """Put the card into a model's metadata."""
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})


def write(model: onnx.ModelProto, path: Path, *, verify: Callable[[Path], None]) -> None:
    """Check a model and write it, so that the file is either whole and good or not there.

    Args:
        model: with its card.
        path: of the file; its folder is made.
        verify: called with a temporary file's path before the file gets its name; what it raises is passed on.

    Raises:
        ExportError: the model is not valid ONNX or too large.
        SinkError: the file cannot be written.
    """
    if model.ByteSize() > _LARGEST:
        raise ExportError(f"{path}: the model is larger than 2 GiB, which one ONNX file cannot hold")
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path}: onnx's checker refuses the graph: {first_line(error)}") from error
    make_folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        verify(temporary)
