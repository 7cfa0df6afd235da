"""YOLO's kind of answer: boxes with class scores and coefficients, and prototypes of which masks are sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto

from segopt_export.wrapping.detections import Around, corners, finished, named, put_labels, single
from segopt_export.wrapping.parts import Part
from segopt_export.wrapping.suppression import suppress

_OF_ENDED = 6
"""Columns of an answer that is suppressed already, before its coefficients: box, score and class."""


def is_ended(answer: Mapping[str, ValueInfoProto]) -> bool:
    """Whether the answer is [B, N, 6 + coefficients]: detections, of a network that needs no suppression."""
    _, _, shape = named(answer["predictions"])
    _, _, (_, coefficients, *_) = named(answer["prototypes"])
    return int(shape[2]) == _OF_ENDED + int(coefficients)


def class_count(answer: Mapping[str, ValueInfoProto]) -> int | None:
    """How many classes there are; None where the shapes do not say it."""
    _, _, shape = named(answer["predictions"])
    _, _, (_, coefficients, *_) = named(answer["prototypes"])
    return None if is_ended(answer) else int(shape[1]) - 4 - int(coefficients)


def yolo_slots(answer: Mapping[str, ValueInfoProto], around: Around) -> int:
    """How many detections a picture can have."""
    _, _, shape = named(answer["predictions"])
    return min(around.options.max_detections, int(shape[1 if is_ended(answer) else 2]))


@dataclass(frozen=True)
class _Found:
    """Names of tensors: what is known of each detection."""

    boxes: str
    """float [B, D, 4] x0, y0, x1, y1 in pixels of the network's picture."""
    scores: str
    labels: str
    """int64 [B, D], class indices."""
    coefficients: str
    converged: str
    """int32 [B]."""


def yolo_part(like: ModelProto, answer: Mapping[str, ValueInfoProto], around: Around) -> ModelProto:
    """Suppression, and the mask of each detection.

    Args:
        like: the network.
        answer: ``predictions`` [B, 4 + C + K, A], center x and y, width and height in pixels of the network's
            picture, class scores and coefficients; or [B, A, 6 + K], x0, y0, x1, y1, score, class and
            coefficients, suppressed already. ``prototypes`` [B, K, h, w].
        around: canvas, classes and options.
    """
    part, count = Part("detections", like), yolo_slots(answer, around)
    _, _, (batch, amount, height, width) = named(answer["prototypes"])
    found = (_ended if is_ended(answer) else _suppressed)(part, answer, around, count)
    part.add("Mul", found.boxes, around.scale, output="boxes")
    part.add("Identity", found.scores, output="scores")
    put_labels(part, found.labels, around.classes)
    part.add("Identity", found.converged, output="converged")
    planes = part.reshape(single(part, answer["prototypes"]), [batch, amount, height * width])
    masks = part.add("MatMul", found.coefficients, planes)
    part.reshape(masks, [batch, count, height, width], "masks")
    return finished(part, list(answer.values()), batch, count, (height, width))


def _ended(part: Part, answer: Mapping[str, ValueInfoProto], around: Around, count: int) -> _Found:
    _, _, (batch, amount, columns) = named(answer["predictions"])
    rows = single(part, answer["predictions"])
    scores, place = part.top(part.reshape(part.columns(rows, 4, 5), [batch, amount]), count)
    best = part.rows(rows, [batch, amount, columns], place)
    last = np.array(len(around.classes.ids) - 1, np.int64)
    label = part.cast(part.reshape(part.columns(best, 5, 6), [batch, count]), TensorProto.INT64)
    label = part.add("Min", part.add("Max", label, np.array(0, np.int64)), last)
    part.ones(batch, "all")
    return _Found(part.columns(best, 0, 4), scores, label, part.columns(best, _OF_ENDED, columns), "all")


def _suppressed(part: Part, answer: Mapping[str, ValueInfoProto], around: Around, count: int) -> _Found:
    options = around.options
    _, _, (batch, columns, anchors) = named(answer["predictions"])
    classes = len(around.classes.ids)
    rows = part.add("Transpose", single(part, answer["predictions"]), perm=[0, 2, 1])
    every = part.columns(rows, 4, 4 + classes)
    best, own = part.add_of_many("TopK", every, np.array([1], np.int64), outputs=["", ""], axis=2)
    best = part.reshape(best, [batch, anchors])
    above = part.add("Greater", best, np.array(options.least_score, np.float32))
    many = min(options.candidates, anchors)
    scores, place = part.top(part.add("Where", above, best, np.array(-1, np.float32)), many)
    labels = part.add("GatherElements", part.reshape(own, [batch, anchors]), place, axis=1)
    taken = part.rows(rows, [batch, anchors, columns], place)
    boxes = corners(part, part.columns(taken, 0, 4))
    valid = part.add("Greater", scores, np.array(0, np.float32))
    keep, settled = suppress(
        part, boxes, valid, labels, shape=(batch, many), iou=options.iou, steps=options.suppression_steps
    )
    kept, order = part.top(part.add("Where", keep, scores, np.array(-1, np.float32)), count)
    # Candidates that were left out matter only where slots are left over.
    amount = part.add("ReduceSum", part.cast(above, TensorProto.FLOAT), np.array([1], np.int64), keepdims=0)
    nothing_left_out = part.add("Less", amount, np.array(many + 0.5, np.float32))
    full = part.add(
        "Greater", part.reshape(part.columns(kept, count - 1, count, 1), [batch]), np.array(0, np.float32)
    )
    exact = part.add("And", settled, part.add("Or", nothing_left_out, full))
    return _Found(
        part.rows(boxes, [batch, many, 4], order),
        kept,
        part.add("GatherElements", labels, order, axis=1),
        part.rows(part.columns(taken, 4 + classes, columns), [batch, many, columns - 4 - classes], order),
        part.cast(exact, TensorProto.INT32),
    )
