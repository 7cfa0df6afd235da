"""Points lost: none where two answers are the same, more the less they have in common."""

import numpy as np
import pytest

from segopt_export.precision.loss import points_lost


def detections(boxes, scores, labels, *, slots=4, filled=1.0):
    found = {
        "boxes": np.zeros((1, slots, 4), np.float32),
        "scores": np.full((1, slots), -1, np.float32),
        "labels": np.zeros((1, slots), np.int32),
        "masks": np.zeros((1, slots, 4, 4), np.float32),
    }
    for i, (box, score, label) in enumerate(zip(boxes, scores, labels, strict=True)):
        found["boxes"][0, i], found["scores"][0, i], found["labels"][0, i] = box, score, label
        found["masks"][0, i] = filled
    return found


BOXES = [(0, 0, 10, 10), (20, 20, 40, 40)]
TWO = detections(BOXES, (0.9, 0.8), (1, 2))


def test_maps_lose_the_share_of_other_pixels():
    expected = {"semantic": np.zeros((1, 10, 10), np.uint8)}
    found = {"semantic": expected["semantic"].copy()}
    found["semantic"][0, 0, :3] = 1
    assert points_lost([expected] * 2, [expected, found]) == {"label map": pytest.approx(1.5)}
    assert points_lost([expected], [expected]) == {"label map": 0}


def test_the_same_detections_in_another_order_lose_nothing():
    other = detections(BOXES[::-1], (0.9, 0.9), (2, 1))
    assert points_lost([TWO], [TWO]) == {"detections": 0}
    same = detections(BOXES, (0.9, 0.9), (1, 2))
    assert points_lost([same], [other], finely=True)["detections"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        (detections(BOXES[:1], (0.9,), (1,)), 100 / 3),  # One of three (two here, one there) has no match.
        (detections(BOXES, (0.9, 0.8), (1, 3)), 50),
        (detections(BOXES, (0.9, 0.6), (1, 2)), 10),  # A score that is 0.2 off, of one of two.
        (detections([(0, 0, 10, 8), BOXES[1]], (0.9, 0.8), (1, 2)), 10),
        (detections(BOXES, (0.9, 0.8), (1, 2), filled=0.0), 100),
        (detections([], [], []), 100),
    ],
)
def test_what_is_missing_or_moved_is_lost(found, lost):
    assert points_lost([TWO], [found], finely=True)["detections"] == pytest.approx(lost, abs=1e-3)


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        (detections(BOXES[:1], (0.9,), (1,)), 100 / 3),
        (detections(BOXES, (0.9, 0.3), (1, 2)), 100 / 3),  # Too far below, and no strong one of its own.
        (detections(BOXES, (0.9, 0.6), (1, 2)), 0),
        (detections([(0, 0, 10, 8), BOXES[1]], (0.9, 0.8), (1, 2)), 0),
        (detections([(0, 0, 10, 6), BOXES[1]], (0.9, 0.8), (1, 2)), 50),
    ],
)
def test_what_moves_a_little_is_found_again(found, lost):
    assert points_lost([TWO], [found])["detections"] == pytest.approx(lost, abs=1e-3)


def test_a_strong_detection_that_becomes_a_weak_one_is_still_found():
    strong, weak = (detections(BOXES[:1], (score,), (1,)) for score in (0.51, 0.49))
    assert points_lost([strong], [weak])["detections"] == 0


def queries(segments, labels):
    scores = np.full((1, 4), -1, np.float32)
    scores[0, : len(labels)] = 0.9
    ids = np.zeros((1, 4), np.int32)
    ids[0, : len(labels)] = labels
    return {"segments": np.array(segments, np.uint8)[None], "scores": scores, "labels": ids}


def test_queries_may_change_places_and_pixels_of_none_are_of_none():
    a = queries([[0, 0, 1, 130]], [5, 7])
    assert points_lost([a], [a]) == {"queries": 0}
    assert points_lost([a], [queries([[1, 1, 0, 129]], [7, 5])]) == {"queries": 0}
    assert points_lost([a], [queries([[0, 0, 1, 1]], [5, 7])]) == {"queries": 25}
    assert points_lost([a], [queries([[0, 0, 1, 130]], [5, 8])]) == {"queries": 25}
    nothing = queries([[0, 0, 0, 0]], [])
    assert points_lost([a], [nothing]) == {"queries": 100}
    assert points_lost([nothing], [nothing]) == {}


def test_where_nothing_is_found_there_is_nothing_to_lose():
    nothing = detections(BOXES, (0.3, 0.2), (1, 2))
    assert points_lost([nothing], [nothing]) == {}
