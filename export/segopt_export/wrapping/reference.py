"""What a network's answer means, in NumPy: the detections that a wrapped file is held against.

Written for being plainly right and not for speed: suppression is a loop over boxes, and nothing is shared with the
graph that is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt_export.wrapping.detections import NO_CLASS, Around
from segopt_export.wrapping.request import Kind

Arrays = Mapping[str, NDArray[Any]]


def detections(kind: Kind, answer: Arrays, around: Around, slots: int) -> dict[str, NDArray[Any]]:
    """The contract's outputs.

    Args:
        kind: of the answer.
        answer: part to array, of a batch.
        around: canvas, classes and options.
        slots: for each picture.
    """
    batch = around.image.batch
    of_kind = {"detr-masks": _detr, "maskrcnn": _maskrcnn, "yolo-seg": _yolo}[kind]
    if kind == "maskrcnn":
        answer = {part: values.reshape(batch, -1, *_OWN_SIDES[part](values)) for part, values in answer.items()}
    found = []
    for i in range(batch):
        boxes, scores, index, masks = of_kind(
            {part: np.asarray(values[i], np.float32) for part, values in answer.items()}, around
        )
        ids = np.array([around.classes.ids[k] if 0 <= k < len(around.classes.ids) else NO_CLASS for k in index])
        order = np.argsort(-np.where(ids == NO_CLASS, -1, scores), kind="stable")[:slots]
        order = order[(ids[order] != NO_CLASS) & (scores[order] > 0)]
        found.append([each[order] for each in (boxes, scores, ids, masks)])
    empty = {"boxes": 0.0, "scores": -1.0, "labels": 0, "masks": 0.0}
    outputs: dict[str, NDArray[Any]] = {}
    for k, (name, value) in enumerate(empty.items()):
        sides = found[0][k].shape[1:]
        outputs[name] = np.full((batch, slots, *sides), value, np.int32 if name == "labels" else np.float32)
        for i, each in enumerate(found):
            outputs[name][i, : len(each[k])] = each[k]
    outputs["converged"] = np.ones(batch, np.int32)
    return outputs


_OWN_SIDES: Mapping[str, Any] = {
    "boxes": lambda _: (4,),
    "labels": lambda _: (),
    "scores": lambda _: (),
    "masks": lambda values: values.shape[-2:],
}
_Found = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def _detr(answer: Arrays, around: Around) -> _Found:
    logits = answer["logits"].astype(np.float64)
    if around.options.scores == "softmax":
        every = np.exp(logits - logits.max(axis=1, keepdims=True))
        every = (every / every.sum(axis=1, keepdims=True))[:, around.classes.named]
        query, index = np.arange(len(logits)), every.argmax(axis=1)
    else:
        every = 1 / (1 + np.exp(-logits[:, around.classes.named]))
        query, index = (each.ravel() for each in np.indices(every.shape))
    scores = every[query, index].astype(np.float32)
    best = np.argsort(-scores, kind="stable")[: around.options.max_detections]
    query, index = query[best], index[best]
    center, half = answer["boxes"][query, :2], answer["boxes"][query, 2:] / 2
    height, width = around.canvas
    boxes = np.concatenate([center - half, center + half], axis=1) * np.array([width, height, width, height])
    return boxes, scores[best], np.array(around.classes.named)[index], answer["masks"][query]


def _maskrcnn(answer: Arrays, around: Around) -> _Found:
    return answer["boxes"] * around.scale, answer["scores"], answer["labels"].astype(np.int64), answer["masks"]


def _yolo(answer: Arrays, around: Around) -> _Found:
    prototypes = answer["prototypes"]
    amount, classes = len(prototypes), len(around.classes.ids)
    rows = answer["predictions"]
    if rows.shape[1] == 6 + amount:
        boxes, scores, index, coefficients = rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), rows[:, 6:]
    else:
        rows = rows.T
        boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], axis=1)
        every, coefficients = rows[:, 4 : 4 + classes], rows[:, 4 + classes :]
        scores, index = every.max(axis=1), every.argmax(axis=1)
        kept = _greedy(boxes, scores, index, around)
        boxes, scores, index, coefficients = (each[kept] for each in (boxes, scores, index, coefficients))
    order = np.argsort(-scores, kind="stable")[: around.options.max_detections]
    masks = np.tensordot(coefficients[order], prototypes, axes=1)
    return boxes[order] * around.scale, scores[order], index[order], masks


def _greedy(boxes: NDArray[Any], scores: NDArray[Any], index: NDArray[Any], around: Around) -> list[int]:
    """Places of the boxes that stay."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable")[: around.options.candidates].tolist():
        if scores[i] <= around.options.least_score:
            break
        rivals = [k for k in kept if index[k] == index[i]]
        if not rivals or (_iou(boxes[i], boxes[rivals]) <= around.options.iou).all():
            kept.append(i)
    return kept


def _iou(box: NDArray[Any], boxes: NDArray[Any]) -> NDArray[Any]:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared
    return np.asarray(shared / np.maximum(union, 1e-12))
