"""What a server answers for a frame: the outputs of each view, made of its result when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.model.card import Mode
from segopt.results import InstanceResult, PanopticResult, SemanticResult


@dataclass(frozen=True)
class Answer:
    """One output of the front."""

    data_type: str
    """Triton's name of it."""
    dims: tuple[int, ...]
    """Without the batch; -1 is the frame's height or width."""
    make: Callable[[Any], NDArray[Any]]
    """From a result to an array of that type and shape."""


def _bytes(data: bytes) -> NDArray[Any]:
    return np.array([data], dtype=np.object_)


def _png(image: NDArray[np.uint8]) -> NDArray[Any]:
    return _bytes(cv2.imencode(".png", image)[1].tobytes())


def _document(
    result: SemanticResult | InstanceResult | PanopticResult, members: Mapping[str, Any]
) -> NDArray[Any]:
    height, width = result.size
    head = {"height": height, "width": width, "converged": result.converged}
    return _bytes(json.dumps({**head, **members}).encode())


def _panoptic(result: PanopticResult) -> NDArray[Any]:
    _, annotation = result.to_coco_panoptic(0, "")
    scores = {segment.id: round(segment.score, 5) for segment in result.segments}
    info = [{**each, "score": scores[each["id"]]} for each in annotation["segments_info"]]
    return _document(result, {"segments_info": info})


def _objects(result: SemanticResult | InstanceResult) -> NDArray[Any]:
    entries = [{key: value for key, value in each.items() if key != "image_id"} for each in result.to_coco(0)]
    return _document(result, {"annotations": entries})


ANSWERS: Mapping[Mode, Mapping[str, Answer]] = {
    "panoptic": {
        "segment_map": Answer("TYPE_INT32", (-1, -1), lambda result: result.segment_map),
        "panoptic_png": Answer("TYPE_STRING", (1,), lambda result: _png(result.to_coco_panoptic(0, "")[0])),
        "annotation": Answer("TYPE_STRING", (1,), _panoptic),
    },
    "instance": {"annotation": Answer("TYPE_STRING", (1,), _objects)},
    "semantic": {
        "class_map": Answer("TYPE_UINT8", (-1, -1), lambda result: result.classes),
        "class_png": Answer("TYPE_STRING", (1,), lambda result: _png(result.classes)),
        "annotation": Answer("TYPE_STRING", (1,), _objects),
    },
}
"""Maps are those of the results; PNGs are encoded; ``annotation`` is JSON in COCO's words."""
