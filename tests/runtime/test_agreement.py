"""The check that every export passes: small differences are let through, other answers are not."""

import dataclasses

import numpy as np
import pytest

from segopt_export.onnx_file.parity import HALF, SINGLE, compare


def answer(count=40, *, score=0.9, batch=1):
    """Detections far apart, in the contract's arrays."""
    left = 30.0 * np.arange(count, dtype=np.float32)
    boxes = np.stack([left, left * 0, left + 20, left * 0 + 20], axis=1)
    scores = np.linspace(score, score - 0.2, count, dtype=np.float32)
    one = {
        "boxes": boxes,
        "scores": scores,
        "labels": np.ones(count, dtype=np.int32),
        "masks": np.full((count, 28, 28), 0.5, dtype=np.float32),
    }
    return {name: np.stack([array] * batch) for name, array in one.items()} | {
        "converged": np.ones(batch, np.int32)
    }


def is_good(expected, found, bounds):
    return all(figure.good for figure in compare(expected, found, bounds))


def changed(outputs, name, index, value):
    array = outputs[name].copy()
    array[index] = value
    return outputs | {name: array}


@pytest.mark.parametrize("bounds", [SINGLE, HALF])
def test_the_same_answer_is_good(bounds):
    assert is_good(answer(batch=2), answer(batch=2), bounds)
    assert is_good(answer(count=0), answer(count=0), bounds)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("boxes", [0, 100, 20, 120]),
        ("scores", 0.7),
        ("labels", 2),
    ],
)
def test_another_detection_is_found_out(name, value):
    few = changed(answer(), name, (0, slice(0, 3)), value)
    assert not is_good(answer(), few, SINGLE)
    assert not is_good(answer(), few, HALF)


@pytest.mark.parametrize(
    ("name", "change", "single", "half"),
    [
        ("boxes", 0.1, True, True),  # of 20 pixels: an IoU of 0.99
        ("boxes", 0.3, False, False),  # 0.97
        ("scores", 0.005, True, True),
        ("scores", 0.02, False, True),
        ("scores", 0.06, False, False),
    ],
)
def test_every_detection_may_move_a_little(name, change, single, half):
    moved = answer() | {
        name: answer()[name] + np.float32(change) * np.float32([1, 0, 1, 0] if name == "boxes" else 1)
    }
    assert is_good(answer(), moved, SINGLE) is single
    assert is_good(answer(), moved, HALF) is half


def test_one_stray_detection_is_let_through_in_half_alone():
    one = changed(answer(), "labels", (0, 0), 2)
    assert is_good(answer(), one, HALF)
    assert not is_good(answer(count=20), changed(answer(count=20), "labels", (0, 0), 2), SINGLE)


def test_weak_detections_may_differ_in_half_alone():
    weak, other = answer(score=0.29), answer(score=0.29)
    other = changed(other, "labels", 0, 2)
    assert is_good(weak, other, HALF)
    assert not is_good(weak, other, SINGLE)


def test_detections_that_one_side_alone_has_count():
    """Neither lost detections nor invented ones pass."""
    few, many = answer(count=40), answer(count=44)
    few = {name: np.pad(array, [(0, 0), (0, 4), *[(0, 0)] * (array.ndim - 2)]) if name != "converged" else array
           for name, array in few.items()}  # fmt: skip
    few["scores"][0, 40:] = -1
    assert not is_good(many, few, HALF)
    assert not is_good(few, many, HALF)


@pytest.mark.parametrize("name", ["boxes", "masks"])
def test_numbers_that_are_not_finite_are_found_out(name):
    assert not is_good(answer(), changed(answer(), name, (0, 0, 0), np.nan), HALF)


def test_no_detections_for_want_of_finite_scores_are_found_out():
    lost = changed(answer(score=0.29), "scores", 0, np.nan)
    assert not is_good(answer(score=0.29), lost, HALF)


def test_a_label_map_may_differ_in_a_few_pixels():
    expected = {"semantic": np.zeros((1, 100, 100), dtype=np.uint8)}
    for flipped, single, half in ((8, True, True), (40, False, True), (60, False, False)):
        found = {"semantic": expected["semantic"].copy()}
        found["semantic"].reshape(-1)[:flipped] = 1
        assert is_good(expected, found, SINGLE) is single
        assert is_good(expected, found, HALF) is half


def test_a_figure_says_which_detections_it_counts():
    (figure, *_) = compare(answer(), answer(), dataclasses.replace(HALF, lowest_score=0.8))
    assert figure.text == "20 of 20 above 0.8 the same"


def logits(seed=0):
    return {"logits": np.random.default_rng(seed).normal(size=(1, 3, 20, 30)).astype(np.float32)}


def test_logits_may_differ_by_rounding_alone():
    for error, single, half in ((1e-5, True, True), (0.01, False, True), (0.2, False, False)):
        found = {"logits": logits()["logits"] + error * logits(1)["logits"]}
        assert is_good(logits(), found, SINGLE) is single
        assert is_good(logits(), found, HALF) is half


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_found_out_on_either_side(number):
    sick = changed(logits(), "logits", (0, 1, 2, 3), number)
    for sides in ((logits(), sick), (sick, logits()), (sick, sick)):
        assert not is_good(*sides, HALF)


@pytest.mark.parametrize("name", ["boxes", "scores", "masks"])
def test_numbers_that_are_none_on_both_sides_are_found_out(name):
    sick = changed(answer(), name, (0, 0), np.nan)
    assert not is_good(sick, sick, HALF)


def test_an_empty_or_constant_answer_is_said_to_prove_nothing():
    (figure, *_) = compare(answer(score=0.2), answer(score=0.2), HALF)
    assert figure.text == "none above 0.3 on either side (the highest score is 0.2), which proves nothing"
    constant = {"semantic": np.full((1, 8, 8), 3, dtype=np.uint8), "logits": np.ones((1, 2, 8, 8), np.float32)}
    label_map, numbers = compare(constant, constant, SINGLE)
    assert "all of them class 3, which proves nothing" in label_map.text
    assert "which proves nothing" in numbers.text


# Query networks.


def queries(count=6, *, batch=1, slots=8):
    """Stripes, one for each kept query, and pixels outside of every mask below them."""
    segments = np.full((40, 60), 128, dtype=np.uint8)
    for slot in range(count):
        segments[:30, 10 * slot : 10 * slot + 10] = slot
    scores = np.full(slots, -1, dtype=np.float32)
    scores[:count] = np.linspace(0.99, 0.9, count)
    labels = np.zeros(slots, dtype=np.int32)
    labels[:count] = 1 + np.arange(count) % 3
    one = {"segments": segments, "scores": scores, "labels": labels}
    return {name: np.stack([array] * batch) for name, array in one.items()}


def with_slots_exchanged(outputs, a, b):
    """The same segments in other slots, as where two scores tie."""
    table = np.arange(256, dtype=np.uint8)
    table[[a, b, 128 + a, 128 + b]] = [b, a, 128 + b, 128 + a]
    exchanged = {"segments": table[outputs["segments"]]}
    for name in ("scores", "labels"):
        exchanged[name] = outputs[name].copy()
        exchanged[name][:, [a, b]] = exchanged[name][:, [b, a]]
    return exchanged


@pytest.mark.parametrize("bounds", [SINGLE, HALF])
def test_the_same_queries_are_good(bounds):
    assert is_good(queries(batch=2), queries(batch=2), bounds)
    assert is_good(queries(), with_slots_exchanged(queries(), 0, 3), bounds)


def test_no_queries_on_either_side_prove_nothing_and_say_so():
    figures = compare(queries(0), queries(0))
    assert all(figure.good for figure in figures)
    assert "proves nothing" in figures[0].text


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("labels", (0, 2), 7),
        ("scores", (0, 2), 0.5),
        ("scores", (0, 6), 0.89),
        ("segments", (0, slice(0, 30), slice(0, 10)), 1),
        ("segments", (0, slice(0, 30), slice(0, 2)), 1),
        ("segments", (0, slice(0, 30), slice(0, 10)), 128),
        ("segments", (0, slice(0, 2)), 129),
    ],
)
def test_another_answer_of_queries_is_not_good(name, index, value):
    assert not is_good(queries(), changed(queries(), name, index, value), SINGLE)


def test_half_may_lose_one_weak_query():
    fewer = changed(queries(), "scores", (0, 5), -1)
    assert not is_good(queries(), fewer, SINGLE)
    assert is_good(queries(), fewer, HALF)
