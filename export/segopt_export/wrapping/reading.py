"""How the answer of each kind is read: its classes, what is put behind the network, and how that is checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from segopt.agreement import Bounds, Figure
from segopt.errors import ExportError
from segopt.model.card import CanvasPaste, PasteRule
from segopt_export.classes import categories_of, read_classes, read_entries
from segopt_export.wrapping.card import Subject
from segopt_export.wrapping.checking import check_detections, check_label_map
from segopt_export.wrapping.detections import (
    Around,
    Classes,
    classes_of_labels,
    classes_of_logits,
    classes_of_scores,
)
from segopt_export.wrapping.detr import detr_part, detr_slots
from segopt_export.wrapping.foreign import Foreign, shape_of
from segopt_export.wrapping.kinds import Answer
from segopt_export.wrapping.maskrcnn import maskrcnn_part, maskrcnn_slots
from segopt_export.wrapping.request import MODE_OF, Kind, WrapRequest
from segopt_export.wrapping.semantic import logits_part, map_part
from segopt_export.wrapping.yolo import class_count, yolo_part, yolo_slots

_MOST_CLASSES = 256


class Reading(ABC):
    """How one network's answer is read."""

    subject: Subject
    class_ids: tuple[int, ...]
    """The category id of each of the network's class indices; -1 where an index is no class."""

    @abstractmethod
    def part(self, network: ModelProto, answer: Answer) -> ModelProto:
        """What is put behind the network, whose outputs have these names there."""

    @abstractmethod
    def check(self, file: Path, images: NDArray[np.uint8], bounds: Bounds) -> list[Figure]:
        """Hold the wrapped file against the network, on pictures uint8 BGR [N, H, W, 3]."""


def reading_of(request: WrapRequest, foreign: Foreign, answer: Answer, canvas: tuple[int, int]) -> Reading:
    """How an answer is read.

    Args:
        request: what was asked.
        foreign: the network.
        answer: which of its outputs are taken.
        canvas: height and width in pixels.

    Raises:
        ExportError: the classes do not fit.
    """
    of_mode = {"semantic": _LabelMap, "instance": _Detections}[MODE_OF[answer.kind]]
    return of_mode(request, foreign, answer, canvas)


class _LabelMap(Reading):
    def __init__(self, request: WrapRequest, foreign: Foreign, answer: Answer, canvas: tuple[int, int]) -> None:
        self._request, self._foreign, self._answer, self._canvas = request, foreign, answer, canvas
        channels = shape_of(answer.outputs["answer"])[1] or 0
        if answer.kind == "semantic-map":
            entries = read_entries(request.classes)
        else:
            # One channel is a class beside a background.
            entries = read_classes(request.classes, max(2, channels), "semantic")
        if len(entries) > _MOST_CLASSES:
            raise ExportError(
                f"{request.model}: has {len(entries)} classes, and a label map holds {_MOST_CLASSES}"
            )
        self.subject = Subject("semantic", categories_of(entries, "semantic"))
        self.class_ids = tuple(range(len(entries)))

    def part(self, network: ModelProto, answer: Answer) -> ModelProto:
        of_kind = {"semantic-logits": logits_part, "semantic-map": map_part}[answer.kind]
        return of_kind(network, answer.outputs["answer"], self._canvas)

    def check(self, file: Path, images: NDArray[np.uint8], bounds: Bounds) -> list[Figure]:
        return check_label_map(file, self._foreign, self._answer, self._request, images, bounds)


class _Detections(Reading):
    def __init__(self, request: WrapRequest, foreign: Foreign, answer: Answer, canvas: tuple[int, int]) -> None:
        self._request, self._foreign, self._answer = request, foreign, answer
        classes = _classes_of(request.classes, answer)
        if not classes.categories:
            raise ExportError(f"{request.classes}: has no class of objects; name those that the network finds")
        self.class_ids = classes.ids
        self._around = Around(canvas, foreign.image, classes, request.detections)
        self._slots = _SLOTS[answer.kind](answer.outputs, self._around)
        paste: PasteRule = _OVER_CANVAS.get(answer.kind, request.detections.paste)
        masks = answer.outputs["prototypes" if answer.kind == "yolo-seg" else "masks"]
        height, width = (side or 0 for side in shape_of(masks)[-2:])
        over_canvas = answer.kind in _OVER_CANVAS
        self.subject = Subject(
            "instance", classes.categories, self._slots, paste, (height, width) if over_canvas else None
        )

    def part(self, network: ModelProto, answer: Answer) -> ModelProto:
        return _PARTS[answer.kind](network, answer.outputs, self._around)

    def check(self, file: Path, images: NDArray[np.uint8], bounds: Bounds) -> list[Figure]:
        return check_detections(
            file, self._foreign, self._answer, self._request, images, self._around, self._slots, bounds
        )


_OVER_CANVAS: Mapping[Kind, CanvasPaste] = {"detr-masks": "canvas", "yolo-seg": "canvas-box"}
_PARTS = {"detr-masks": detr_part, "maskrcnn": maskrcnn_part, "yolo-seg": yolo_part}
_SLOTS = {"detr-masks": detr_slots, "maskrcnn": maskrcnn_slots, "yolo-seg": yolo_slots}


def _classes_of(path: Path, answer: Answer) -> Classes:
    if answer.kind == "maskrcnn":
        return classes_of_labels(path)
    if answer.kind == "yolo-seg":
        count = class_count(answer.outputs)
        return classes_of_scores(path, len(read_entries(path)) if count is None else count)
    return classes_of_logits(path, shape_of(answer.outputs["logits"])[2] or 0)
