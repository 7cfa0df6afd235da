"""The card of a model file, whatever its kind."""

from __future__ import annotations

import os
from pathlib import Path

from segopt.errors import CardError
from segopt.model.card import METADATA_KEY, Card
from segopt.model.onnx_metadata import read_metadata


def read_card(path: str | os.PathLike[str]) -> Card:
    """The card of a model file: of ``NAME.onnx`` from inside, of ``NAME.plan`` from ``NAME.plan.json``.

    Raises:
        CardError: the file is missing, empty, truncated, no ONNX file, or one that segopt did not export.
    """
    path = Path(path)
    if path.suffix == ".plan":
        from segopt.model import sidecar

        return Card.from_json(sidecar.read_text(path), source=str(sidecar.sidecar_path(path)))
    text = read_metadata(path).get(METADATA_KEY)
    if text is None:
        raise CardError(
            f"{path}: an ONNX file, but not one of segopt's (it has no card); make one with `segopt export`"
        )
    return Card.from_json(text, source=str(path))
