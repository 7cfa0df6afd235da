"""What a wrapped file's card records of its wrap: enough to run the original file and read its answer again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.errors import ExportError, UsageError
from segopt.files.hashing import sha256_of_file
from segopt.model.card import Card
from segopt_export.onnx_file.session import cpu_session
from segopt_export.wrapping import reference
from segopt_export.wrapping.checking import label_map, network_input
from segopt_export.wrapping.detections import Around, Classes
from segopt_export.wrapping.foreign import Foreign, read_foreign
from segopt_export.wrapping.kinds import Answer, find_answer
from segopt_export.wrapping.request import MODE_OF, DetectionOptions, WrapRequest


def recorded(request: WrapRequest, foreign: Foreign, answer: Answer, class_ids: tuple[int, ...]) -> dict[str, Any]:
    """What a wrap did, as plain values for the card."""
    said: dict[str, Any] = {
        "kind": answer.kind,
        "outputs": {part: value.name for part, value in answer.outputs.items()},
        "colors": request.colors or "rgb",
        "network_size": list(foreign.image.size),
    }
    if MODE_OF[answer.kind] == "instance":
        said |= {"class_ids": list(class_ids), "detections": asdict(request.detections)}
    return said


class Original:
    """A file of another maker beside the model that was made of it: ONNX Runtime, and NumPy around it.

    Args:
        card: of the wrapped model.
        path: of the original file.

    Raises:
        ExportError: the file is not the one that the card names, or cannot be read.
        UsageError: the card is of no wrapped file.
    """

    def __init__(self, card: Card, path: Path) -> None:
        said = card.settings.get(card.mode, {})
        if "kind" not in said:
            raise UsageError(f"{path}: the model was not made by `segopt wrap` of one file")
        self._card = card
        options: Mapping[str, Any] = said.get("detections", {})
        height, width = said["network_size"]
        self._request = WrapRequest(
            model=path,
            classes=Path(),
            kind=said["kind"],
            take=said["outputs"],
            network_size=(height, width),
            batch=card.batch,
            mean=card.mean,
            std=card.std,
            colors=said["colors"],
            detections=DetectionOptions(**options),
        )
        self._foreign = read_foreign(path, (height, width), card.batch)
        self._answer = find_answer(self._foreign, self._request.kind, self._request.take, path)
        ids = tuple(said.get("class_ids", ()))
        self._around = Around(
            card.canvas, self._foreign.image, Classes(card.categories[card.mode], ids), self._request.detections
        )
        self._session = cpu_session(str(path))

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The contract's outputs for pictures uint8 BGR [B, H, W, 3] on the canvas."""
        given = {self._foreign.image.name: network_input(self._foreign, self._request, images)}
        names = {part: value.name for part, value in self._answer.outputs.items()}
        found = dict(zip(names, self._session.run(list(names.values()), given), strict=True))
        kind = self._answer.kind
        if MODE_OF[kind] == "semantic":
            maps = [label_map(each, kind, self._card.canvas) for each in found["answer"]]
            return {"semantic": np.stack(maps).astype(np.uint8)}
        return reference.detections(kind, found, self._around, self._card.max_detections)


def original_of(card: Card, path: Path) -> Original:
    """The original file of a wrapped model.

    Raises:
        ExportError: the file is not the one that the card names, or cannot be read.
        UsageError: the card is of no wrapped file.
    """
    try:
        digest = sha256_of_file(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror})") from None
    origin = card.weights[card.mode]
    if digest != origin.sha256:
        raise ExportError(
            f"{path}: is not the file that the model was made of, {origin.name} (its SHA-256 differs)"
        )
    return Original(card, path)
