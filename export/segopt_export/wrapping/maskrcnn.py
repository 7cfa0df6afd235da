"""Mask R-CNN's kind of answer: a fixed number of detections, each with a small mask inside its box."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto

from segopt_export.wrapping.detections import NO_CLASS, Around, finished, named, single
from segopt_export.wrapping.parts import Part


def maskrcnn_slots(answer: Mapping[str, ValueInfoProto], around: Around) -> int:
    """How many detections a picture can have."""
    _, _, shape = named(answer["scores"])
    return min(around.options.max_detections, int(shape[-1]))


def maskrcnn_part(like: ModelProto, answer: Mapping[str, ValueInfoProto], around: Around) -> ModelProto:
    """The best detections, by descending score; what has no score or no class is left out.

    Args:
        like: the network.
        answer: ``boxes`` [N, 4] x0, y0, x1, y1 in pixels of the network's picture, ``labels`` [N], ``scores`` [N]
            and ``masks`` [N, 1, M, M] probabilities; the axis of the batch may stand before each.
        around: canvas, classes and options.
    """
    part, count = Part("detections", like), maskrcnn_slots(answer, around)
    batch = around.image.batch
    _, _, (*_, most) = named(answer["scores"])
    _, _, (*_, height, width) = named(answer["masks"])
    scores = part.reshape(single(part, answer["scores"]), [batch, most])
    labels = part.reshape(part.cast(answer["labels"].name, TensorProto.INT64), [batch, most])
    table = around.classes.table
    # Labels beyond the classes are none, as is 0.
    wide = np.concatenate([[NO_CLASS], table, [NO_CLASS]])
    index = part.add("Add", labels, np.array(1, np.int64))
    index = part.add("Min", part.add("Max", index, np.array(0, np.int64)), np.array(len(wide) - 1, np.int64))
    identity = part.add("Gather", wide, index, axis=0)
    real = part.add(
        "And",
        part.add("GreaterOrEqual", identity, np.array(0, np.int64)),
        part.add("Greater", scores, np.array(0, np.float32)),
    )
    best, place = part.top(part.add("Where", real, scores, np.array(-1, np.float32)), count)
    part.add("Identity", best, output="scores")
    found = part.add("GatherElements", identity, place, axis=1)
    used = part.add("Greater", best, np.array(0, np.float32))
    part.cast(part.add("Where", used, found, np.array(0, np.int64)), TensorProto.INT32, "labels")
    boxes = part.reshape(single(part, answer["boxes"]), [batch, most, 4])
    part.add("Mul", part.rows(boxes, [batch, most, 4], place), around.scale, output="boxes")
    masks = part.reshape(single(part, answer["masks"]), [batch, most, height, width])
    part.add("Identity", part.rows(masks, [batch, most, height, width], place), output="masks")
    part.ones(batch, "converged")
    return finished(part, list(answer.values()), batch, count, (height, width))
