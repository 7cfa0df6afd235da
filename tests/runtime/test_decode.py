"""Tensors of the network become detections and label maps of the frame."""

import numpy as np
import pytest

from segopt.decode import clip_boxes, decode_converged, decode_detections, decode_semantic
from segopt.errors import EngineError
from segopt.letterbox import Letterbox

CANVAS = (48, 64)
HALF_SIZE = Letterbox.fit((96, 128), CANVAS)
TALL = Letterbox.fit((96, 32), CANVAS)
"""Content 48 x 16: what lies right of column 16 is padding."""
WIDE = Letterbox.fit((32, 128), CANVAS)
"""Content 16 x 64: what lies below row 16 is padding."""


def outputs(boxes, scores, labels=None, batch=1):
    n = len(scores)
    return {
        "boxes": np.tile(np.float32(boxes).reshape(1, n, 4), (batch, 1, 1)),
        "scores": np.tile(np.float32(scores), (batch, 1)),
        "labels": np.tile(np.arange(n, dtype=np.int32) if labels is None else np.int32(labels), (batch, 1)),
        "masks": np.random.default_rng(0).random((batch, n, 28, 28), dtype=np.float32),
    }


def test_boxes_come_in_frame_pixels():
    found = decode_detections(outputs([[4, 8, 20, 40]], [0.9]), 0, HALF_SIZE, 0.5)
    np.testing.assert_array_equal(found.boxes, [[8, 16, 40, 80]])


@pytest.mark.parametrize(
    ("threshold", "wanted"), [(0, [0, 1, 2]), (0.3, [0, 1, 2]), (0.31, [0, 1]), (0.7, [0, 1]), (0.95, []), (1, [])]
)
def test_detections_from_the_threshold_on_are_taken_and_unused_slots_never(threshold, wanted):
    tensors = outputs([[0, 0, 8, 8]] * 5, [0.9, 0.7, 0.3, -1, -1])
    found = decode_detections(tensors, 0, HALF_SIZE, threshold)
    assert found.labels.tolist() == wanted
    np.testing.assert_array_equal(found.masks, tensors["masks"][0][wanted])
    np.testing.assert_array_equal(found.scores, tensors["scores"][0][wanted])


def test_types_are_those_of_the_result():
    tensors = outputs([[0, 0, 8, 8]], [0.9]) | {"masks": np.ones((1, 1, 28, 28), np.float16)}
    found = decode_detections(tensors, 0, HALF_SIZE, 0.5)
    assert [array.dtype for array in (found.boxes, found.scores, found.labels, found.masks)] == [
        np.float32,
        np.float32,
        np.int32,
        np.float32,
    ]


def test_nothing_found_is_empty_and_keeps_its_shapes():
    found = decode_detections(outputs([[0, 0, 8, 8]] * 3, [-1, -1, -1]), 0, HALF_SIZE, 0.0)
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, 28, 28)
    assert found.paste((96, 128), "torchvision") == ()


def test_each_frame_of_a_batch_has_its_own():
    tensors = outputs([[0, 0, 8, 8]] * 2, [0.9, 0.6], batch=2)
    tensors["scores"][1] = -1
    assert [len(decode_detections(tensors, i, HALF_SIZE, 0.5).scores) for i in (0, 1)] == [2, 0]


@pytest.mark.parametrize(("letterbox", "axes"), [(TALL, [0, 1, 2, 3]), (WIDE, [1, 0, 3, 2])], ids=["tall", "wide"])
def test_objects_in_the_padding_are_left_out(letterbox, axes):
    # Wholly beyond the content, inside it, across its border, and from its border on.
    boxes = np.float32([[20, 4, 40, 30], [4, 4, 12, 30], [10, 4, 30, 30], [16, 4, 40, 30]])[:, axes]
    found = decode_detections(outputs(boxes, [0.9, 0.8, 0.7, 0.6]), 0, letterbox, 0.5)
    assert found.labels.tolist() == [1, 2]
    assert found.boxes[1][axes].tolist() == [20, 8, 60, 60]
    assert clip_boxes(found.boxes, *letterbox.frame)[1][axes].tolist() == [20, 8, 32, 60]


def test_boxes_are_cut_at_all_four_sides_of_the_frame():
    boxes = np.float32([[-5, -7, 90, 40], [3, 4, 20, 30], [10, 20, 31, 99], [-9, -9, -1, -1]])
    cut = [[0, 0, 80, 40], [3, 4, 20, 30], [10, 20, 31, 50], [0, 0, 0, 0]]
    assert clip_boxes(boxes, 50, 80).tolist() == cut


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tensor", ["boxes", "scores", "masks"])
def test_numbers_that_are_not_finite_are_an_error(tensor, bad):
    tensors = outputs([[0, 0, 8, 8]] * 2, [0.9, 0.8])
    tensors[tensor].flat[-1] = bad
    with pytest.raises(EngineError, match="not finite; its precision is too low"):
        decode_detections(tensors, 0, HALF_SIZE, 0.5)


def test_what_stands_in_unused_slots_does_not_matter():
    tensors = outputs([[0, 0, 8, 8]] * 2, [0.9, -1])
    tensors["boxes"][0, 1] = tensors["masks"][0, 1] = np.nan
    assert decode_detections(tensors, 0, HALF_SIZE, 0.5).labels.tolist() == [0]


def test_a_pasted_detection_lies_where_its_box_is():
    tensors = outputs([[4, 8, 20, 40]], [0.9]) | {"masks": np.ones((1, 1, 28, 28), np.float32)}
    found = decode_detections(tensors, 0, HALF_SIZE, 0.5)
    (crop,) = found.paste(HALF_SIZE.frame, "detectron2")
    wanted = np.zeros(HALF_SIZE.frame, bool)
    wanted[16:80, 8:40] = True
    np.testing.assert_array_equal(crop.on_canvas(*HALF_SIZE.frame), wanted)


def test_the_label_map_is_cut_out_of_its_padding_and_brought_to_the_frame():
    semantic = np.full((2, *CANVAS), 9, np.uint8)
    semantic[1, :, :8], semantic[1, :, 8:16] = 1, 2
    classes = decode_semantic({"semantic": semantic}, 1, TALL)
    assert classes.shape == (96, 32)
    assert (classes[:, :16] == 1).all()
    assert (classes[:, 16:] == 2).all()


def test_graphs_without_suppression_are_always_converged():
    assert decode_converged({}, 0)
    converged = {"converged": np.int32([1, 0])}
    assert decode_converged(converged, 0)
    assert not decode_converged(converged, 1)
