"""The merger, against a slow and obvious merge on whole planes."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.models.detection.roi_heads import paste_masks_in_image

import segopt
from segopt.merge import merge_panoptic
from segopt.segment import Segment

UNDECIDED = 2e-6
"""No probability of these cases lies nearer to the threshold, so that rounding cannot tip a pixel."""


def detectron2_plane(mask, box, height, width):
    """float64 [H, W]: the mask's probability at each pixel of the frame."""
    x0, y0, x1, y1 = map(float, box)
    if x1 <= x0 or y1 <= y0:
        return np.zeros((height, width))
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    cells = torch.tensor(mask, dtype=torch.float64)[None, None]
    return functional.grid_sample(cells, grid[None], align_corners=False)[0, 0].numpy()


def torchvision_plane(mask, box, height, width):
    return paste_masks_in_image(torch.tensor(mask)[None, None], torch.tensor(box)[None], (height, width))[
        0, 0
    ].numpy()


PLANES = {"detectron2": detectron2_plane, "torchvision": torchvision_plane}


def merge_slowly(
    boxes, scores, labels, masks, semantic, stuff_classes, score_threshold, overlap_threshold, stuff_area, paste
):
    height, width = semantic.shape
    segment_map = np.zeros((height, width), np.int32)
    segments = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if scores[i] < np.float32(score_threshold):
            continue
        plane = PLANES[paste](masks[i], boxes[i], height, width) >= 0.5
        if plane.sum() == 0:
            continue
        taken = (plane & (segment_map > 0)).sum()
        if taken / plane.sum() > overlap_threshold:
            continue
        own = plane & (segment_map == 0)
        if own.sum() == 0:
            continue
        segments.append(Segment(len(segments) + 1, int(labels[i]), True, float(scores[i]), int(own.sum())))
        segment_map[own] = len(segments)

    free = segment_map == 0
    category_at = np.full((height, width), -1)
    for index, category in stuff_classes.items():
        category_at[semantic == index] = category
    seen = []
    for index in sorted(stuff_classes):
        category = stuff_classes[index]
        if category in seen:
            continue
        seen.append(category)
        region = free & (category_at == category)
        if region.sum() == 0 or region.sum() < stuff_area:
            continue
        segments.append(Segment(len(segments) + 1, category, False, 1.0, int(region.sum())))
        segment_map[region] = len(segments)
    return segment_map, segments


# A case is the arguments of both functions.


def random_mask(random):
    kind = random.integers(6)
    if kind == 0:
        return random.random((28, 28), dtype=np.float32)
    if kind == 1:
        return np.full((28, 28), random.choice([0.0, 0.2, 0.49]), np.float32)
    if kind == 2:
        return np.ones((28, 28), np.float32)
    y, x = np.mgrid[0:28, 0:28]
    cy, cx = random.uniform(6, 22, 2)
    ry, rx = random.uniform(3, 16, 2)
    return (1 / (1 + np.exp(4 * (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 - 1)))).astype(np.float32)


def random_box(random, height, width):
    kind = random.integers(8)
    x, y = random.uniform(0, (width, height))
    w, h = random.uniform(2, 0.8 * width), random.uniform(2, 0.8 * height)
    if kind == 0:  # one pixel
        x, y, w, h = np.floor(x) + 0.5, np.floor(y) + 0.5, 1, 1
    elif kind == 1:  # less than a pixel
        w, h = random.uniform(0.05, 1, 2)
    elif kind == 2:  # at the border, to the pixel
        return np.float32([0, 0, round(w), height])
    elif kind == 3:  # the whole frame
        return np.float32([0, 0, width, height])
    return np.float32([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def random_instance(random, height, width, paste):
    """A mask and a box none of whose pixels is undecided."""
    while True:
        mask, box = random_mask(random), random_box(random, height, width)
        if paste == "torchvision":  # which fails on boxes off the frame
            box = np.clip(box, 0, [width, height, width, height]).astype(np.float32)
        if np.abs(PLANES[paste](mask, box, height, width) - 0.5).min() > UNDECIDED:
            return mask, box


def random_semantic(random, height, width, indices):
    coarse = random.choice(indices, (5, 6)).astype(np.uint8)
    rows = np.sort(random.integers(0, 5, height))
    columns = np.sort(random.integers(0, 6, width))
    semantic = coarse[rows][:, columns]
    noisy = random.random((height, width)) < 0.02
    semantic[noisy] = random.choice(indices, noisy.sum())
    return semantic


def random_case(random, paste, count=None):
    height, width = random.integers(20, 80), random.integers(20, 100)
    n = int(random.choice([0, 1, 2, 5, 12, 25])) if count is None else count
    instances = [random_instance(random, height, width, paste) for _ in range(n)]
    # Few values, so that scores tie and lie at the threshold.
    scores = random.choice(np.float32([0.05, 0.3, 0.5, 0.7, 0.7, 0.9, 0.95, 1.0]), n)
    indices = random.choice(256, 6, replace=False)
    # Some indices are no stuff, some stuff indices are absent, and categories are shared.
    stuff = {int(i): int(random.choice([100, 101, 102, 103])) for i in (*indices[:4], *random.choice(256, 3))}
    return {
        "boxes": np.float32([box for _, box in instances]).reshape(-1, 4),
        "scores": scores if random.random() < 0.5 else -np.sort(-scores),
        "labels": random.integers(1, 91, n),
        "masks": np.float32([mask for mask, _ in instances]).reshape(-1, 28, 28),
        "semantic": random_semantic(random, height, width, indices),
        "stuff_classes": stuff,
        "score_threshold": float(random.choice([0.0, 0.3, 0.5, 0.7, 1.0])),
        "overlap_threshold": float(random.choice([0.0, 0.2, 0.5, 0.8, 1.0])),
        "stuff_area": int(random.choice([0, 1, 60, 300, 4096])),
        "paste": paste,
    }


def assert_merged_as_slowly(case):
    segment_map, segments = merge_panoptic(**case)
    wanted_map, wanted = merge_slowly(**case)
    assert segments == wanted
    np.testing.assert_array_equal(segment_map, wanted_map)
    assert_sound(segment_map, segments, case)


def assert_sound(segment_map, segments, case):
    assert segment_map.dtype == np.int32
    assert segment_map.shape == case["semantic"].shape
    assert [segment.id for segment in segments] == list(range(1, len(segments) + 1))
    areas = np.bincount(segment_map.ravel(), minlength=len(segments) + 1)
    assert [segment.area for segment in segments] == areas[1:].tolist()
    assert areas.sum() == segment_map.size
    things = [segment for segment in segments if segment.is_thing]
    stuff = [segment for segment in segments if not segment.is_thing]
    assert segments == things + stuff
    assert [segment.score for segment in things] == sorted((segment.score for segment in things), reverse=True)
    assert all(segment.score >= np.float32(case["score_threshold"]) for segment in things)
    assert all(segment.area >= case["stuff_area"] for segment in stuff)
    assert max(Counter(segment.category_id for segment in stuff).values(), default=1) == 1
    assert {segment.name for segment in segments} <= {""}
    plain = (int, float, bool, str, type(None))
    assert all(type(value) in plain for segment in segments for value in dataclasses.astuple(segment))


@pytest.mark.parametrize("paste", PLANES)
@pytest.mark.parametrize("seed", range(10))
def test_maps_and_segments_are_the_references(paste, seed):
    random = np.random.default_rng([seed, len(paste)])
    for _ in range(25):
        assert_merged_as_slowly(random_case(random, paste))


@pytest.mark.parametrize("paste", PLANES)
def test_a_hundred_detections_are_merged_as_in_the_reference(paste):
    random = np.random.default_rng(3)
    for _ in range(4):
        assert_merged_as_slowly(random_case(random, paste, count=100))


def test_more_detections_than_a_byte_counts():
    random = np.random.default_rng(4)
    n = 300
    x, y = np.arange(n) % 20 * 4, np.arange(n) // 20 * 4
    case = plain_case(
        height=64,
        width=80,
        boxes=np.float32(np.stack([x, y, x + 3, y + 3], axis=1)),
        scores=random.uniform(0.6, 1, n).astype(np.float32),
        semantic=np.full((64, 80), 7, np.uint8),
        stuff_classes={7: 200},
        stuff_area=1,
    )
    assert len(merge_panoptic(**case)[1]) == n + 1
    assert_merged_as_slowly(case)


def test_every_semantic_index_may_be_stuff_of_its_own():
    semantic = np.arange(256, dtype=np.uint8).repeat(16).reshape(64, 64)
    case = plain_case(
        boxes=np.float32([[0, 0, 8, 8]]),
        semantic=semantic,
        stuff_classes={index: 1000 + index for index in range(256)},
        stuff_area=1,
    )
    assert len(merge_panoptic(**case)[1]) > 240
    assert_merged_as_slowly(case)


# One rule at a time: masks fill their boxes, and boxes lie on whole pixels.


def plain_case(height=64, width=64, boxes=(), scores=None, **options):
    boxes = np.float32(boxes).reshape(-1, 4)
    n = len(boxes)
    case = {
        "boxes": boxes,
        "scores": np.linspace(0.9, 0.8, n, dtype=np.float32) if scores is None else np.float32(scores),
        "labels": np.arange(1, n + 1),
        "masks": np.ones((n, 28, 28), np.float32),
        "semantic": np.zeros((height, width), np.uint8),
        "stuff_classes": {},
        "score_threshold": 0.5,
        "overlap_threshold": 0.5,
        "stuff_area": 4096,
        "paste": "detectron2",
    }
    return {**case, **options}


def categories_of(case):
    assert_merged_as_slowly(case)
    return [segment.category_id for segment in merge_panoptic(**case)[1]]


def test_an_instance_goes_when_more_than_half_of_it_is_taken():
    # The second box is 20 x 20, and 10 or 11 of its columns lie under the first.
    assert categories_of(plain_case(boxes=[[0, 0, 20, 20], [10, 0, 30, 20]])) == [1, 2]
    assert categories_of(plain_case(boxes=[[0, 0, 20, 20], [9, 0, 29, 20]])) == [1]


def test_of_equal_scores_the_first_given_is_on_top():
    case = plain_case(boxes=[[0, 0, 20, 20], [10, 0, 30, 20]], scores=[0.8, 0.8])
    assert [segment.area for segment in merge_panoptic(**case)[1]] == [400, 200]
    assert categories_of(case) == [1, 2]


def test_scores_need_not_be_sorted():
    case = plain_case(boxes=[[0, 0, 20, 20], [10, 0, 30, 20]], scores=[0.6, 0.8])
    assert categories_of(case) == [2, 1]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9])
def test_a_score_at_the_threshold_is_enough(threshold):
    at, below = np.float32(threshold), np.nextafter(np.float32(threshold), np.float32(0))
    boxes = [[0, 0, 20, 20], [30, 30, 50, 50]]
    assert categories_of(plain_case(boxes=boxes, scores=[at, below], score_threshold=threshold)) == [1]


def test_a_score_that_is_no_number_is_below_every_threshold():
    case = plain_case(boxes=[[0, 0, 20, 20], [30, 30, 50, 50]], scores=[np.nan, 0.9])
    assert [segment.category_id for segment in merge_panoptic(**case)[1]] == [2]


@pytest.mark.parametrize(("area", "wanted"), [(4096, [50]), (4095, [])])
def test_stuff_is_a_segment_from_the_limit_on(area, wanted):
    semantic = np.zeros((80, 80), np.uint8)
    semantic.flat[:area] = 9
    assert categories_of(plain_case(semantic=semantic, stuff_classes={9: 50})) == wanted


def test_what_objects_cover_does_not_count_for_stuff():
    semantic = np.full((64, 64), 9, np.uint8)
    options = {"semantic": semantic, "stuff_classes": {9: 50}}
    assert categories_of(plain_case(**options)) == [50]
    assert categories_of(plain_case(boxes=[[3, 3, 4, 4]], **options)) == [1]


def test_indices_of_one_category_reach_the_limit_together():
    semantic = np.zeros((64, 64), np.uint8)
    semantic[32:] = 9
    assert categories_of(plain_case(semantic=semantic, stuff_classes={0: 50, 9: 50})) == [50]


def test_classes_that_are_no_stuff_stay_void():
    segment_map, segments = merge_panoptic(**plain_case(semantic=np.full((64, 64), 3, np.uint8)))
    assert segments == []
    assert not segment_map.any()


def test_masks_without_a_pixel_are_no_segments():
    case = plain_case(
        boxes=[[0, 0, 20, 20], [5, 5, 5, 5], [90, 90, 99, 99], [0, 0, 10, 10]], overlap_threshold=1.0
    )
    assert categories_of(case) == [1]
    assert categories_of({**case, "masks": np.zeros((4, 28, 28), np.float32)}) == []


def test_a_label_map_that_is_a_view_merges_as_its_copy():
    random = np.random.default_rng(6)
    for _ in range(10):
        case = random_case(random, "detectron2")
        for view in (case["semantic"].T, case["semantic"][::-1, ::2]):
            by_view, by_copy = (merge_panoptic(**{**case, "semantic": array}) for array in (view, view.copy()))
            np.testing.assert_array_equal(by_view[0], by_copy[0])
            assert by_view[1] == by_copy[1]


def test_nothing_that_is_given_is_written_to():
    case = random_case(np.random.default_rng(7), "detectron2", count=12)
    for value in case.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    assert_merged_as_slowly(case)


def test_the_defaults_are_panoptic_fpns():
    random = np.random.default_rng(8)
    case = random_case(random, "detectron2", count=25)
    case |= {"score_threshold": 0.5, "overlap_threshold": 0.5, "stuff_area": 4096}
    arrays = [case[name] for name in ("boxes", "scores", "labels", "masks", "semantic", "stuff_classes")]
    segment_map, segments = segopt.merge.merge_panoptic(*arrays)
    wanted_map, wanted = merge_slowly(**case)
    assert segments == wanted
    np.testing.assert_array_equal(segment_map, wanted_map)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("boxes", np.zeros((3, 4), np.float32), r"boxes has shape \(3, 4\), and 2 scores want \(2, 4\)"),
        ("boxes", np.zeros((2, 5), np.float32), "boxes has shape"),
        ("scores", np.zeros((2, 1), np.float32), "scores has shape"),
        ("scores", np.float32(0.5), "scores has shape"),
        ("labels", np.zeros(3, np.int64), "labels has shape"),
        ("masks", np.zeros((1, 28, 28), np.float32), "masks has shape"),
        ("masks", np.zeros((2, 28, 14), np.float32), r"masks has shape \(2, 28, 14\), and must be \[N, M, M\]"),
        ("masks", np.zeros((2, 1, 28, 28), np.float32), "masks has shape"),
        ("semantic", np.zeros((8, 8), np.int64), r"semantic is int64 \(8, 8\), and must be uint8"),
        ("semantic", np.zeros((8, 8, 1), np.uint8), "semantic is uint8"),
        ("semantic", np.zeros((0, 8), np.uint8), "semantic is uint8"),
        ("semantic", np.zeros((8, 0), np.uint8), "semantic is uint8"),
        ("stuff_classes", {256: 1}, "stuff_classes has indices outside"),
        ("stuff_classes", {-1: 1}, "stuff_classes has indices outside"),
    ],
)
def test_arrays_that_do_not_fit_are_named(name, value, message):
    case = plain_case(boxes=[[0, 0, 8, 8], [8, 8, 16, 16]])
    with pytest.raises(ValueError, match=message):
        merge_panoptic(**{**case, name: value})
