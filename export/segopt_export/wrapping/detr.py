"""DETR's kind of answer: queries with a box, class logits, and a mask over the whole picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, ValueInfoProto

from segopt_export.wrapping.detections import Around, corners, finished, named, put_labels, single
from segopt_export.wrapping.parts import Part


def detr_slots(answer: Mapping[str, ValueInfoProto], around: Around) -> int:
    """How many detections a picture can have."""
    _, _, (_, queries, _) = named(answer["logits"])
    each = 1 if around.options.scores == "softmax" else len(around.classes.named)
    return min(around.options.max_detections, queries * each)


def detr_part(like: ModelProto, answer: Mapping[str, ValueInfoProto], around: Around) -> ModelProto:
    """The best pairs of query and class as detections.

    With sigmoid each class of a query is a detection of its own (Deformable DETR, RF-DETR); with softmax a query
    is one of its best class (DETR, whose last logit is of no object).

    Args:
        like: the network.
        answer: ``boxes`` [B, N, 4] center x and y, width and height in 0..1, ``logits`` [B, N, C] and ``masks``
            [B, N, h, w], logits.
        around: canvas, classes and options.
    """
    part, count = Part("detections", like), detr_slots(answer, around)
    _, _, (batch, queries, _) = named(answer["logits"])
    _, _, mask_shape = named(answer["masks"])
    logits, each = single(part, answer["logits"]), len(around.classes.named)
    one_each = around.options.scores == "softmax"
    every = part.add("Softmax", logits, axis=2) if one_each else part.add("Sigmoid", logits)
    # Indices that are no class have no share in it.
    probability = part.add("Gather", every, np.array(around.classes.named, np.int64), axis=2)
    if one_each:
        best, own = part.add_of_many("TopK", probability, np.array([1], np.int64), outputs=["", ""], axis=2)
        scores, query = part.top(part.reshape(best, [batch, queries]), count)
        label = part.add("GatherElements", part.reshape(own, [batch, queries]), query, axis=1)
    else:
        scores, pair = part.top(part.reshape(probability, [batch, queries * each]), count)
        query = part.add("Div", pair, np.array(each, np.int64))
        label = part.add("Sub", pair, part.add("Mul", query, np.array(each, np.int64)))
    part.add("Identity", scores, output="scores")
    put_labels(part, part.add("Gather", np.array(around.classes.named, np.int64), label, axis=0), around.classes)
    height, width = around.canvas
    boxes = part.rows(corners(part, single(part, answer["boxes"])), [batch, queries, 4], query)
    part.add("Mul", boxes, np.array([width, height, width, height], np.float32), output="boxes")
    part.add("Identity", part.rows(single(part, answer["masks"]), mask_shape, query), output="masks")
    part.ones(batch, "converged")
    return finished(part, list(answer.values()), batch, count, mask_shape[2:])
