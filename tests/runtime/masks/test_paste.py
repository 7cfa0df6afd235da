"""A pasted mask is, pixel by pixel, what torchvision and Detectron2 paste."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segopt.masks import rasterize as masks_module
from segopt.masks.paste import paste_bitmasks, paste_mask, paste_masks

FRAME = (90, 130)
UNDECIDED = 1e-5
"""Within this of the threshold, rounding may tip a pixel either way."""


def torchvision_probability(mask, box, frame):
    (height, width), (x0, y0, x1, y1) = frame, box
    cell_x, cell_y = (x1 - x0) / mask.shape[1], (y1 - y0) / mask.shape[0]
    if x1 + cell_x < -1 or y1 + cell_y < -1:  # torchvision fails beyond the left and the top
        return np.zeros(frame, np.float32)
    # It fails beyond the right and the bottom too: there it gets a frame that is large enough.
    room = max(height, math.ceil(y1 + cell_y) + 2), max(width, math.ceil(x1 + cell_x) + 2)
    boxes, masks = torch.from_numpy(box)[None], torch.from_numpy(mask)[None, None]
    return paste_masks_in_image(masks, boxes, room)[0, 0, :height, :width].numpy()


def detectron2_probability(mask, box, frame):
    """Sample the mask at the center of each pixel of the whole frame, in the box's own coordinates."""
    (height, width), (x0, y0, x1, y1) = frame, map(float, box)
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    cells = torch.from_numpy(mask).double()
    return functional.grid_sample(cells[None, None], grid[None], align_corners=False)[0, 0].numpy()


REFERENCES = {"torchvision": torchvision_probability, "detectron2": detectron2_probability}


def assert_pasted_like(rule, mask, box, frame=FRAME):
    crop = paste_mask(mask, box, *frame, rule=rule)
    pasted = crop.on_canvas(*frame)
    probability = REFERENCES[rule](mask, box, frame)
    decided = np.abs(probability - 0.5) > UNDECIDED
    np.testing.assert_array_equal(pasted[decided], (probability >= 0.5)[decided], err_msg=f"box {box}")
    assert crop.area == np.count_nonzero(pasted)


def blob(random):
    """A mask as networks give them: sure inside, unsure at its edge."""
    y, x = np.mgrid[0:28, 0:28]
    cy, cx = random.uniform(8, 20, 2)
    ry, rx = random.uniform(3, 16, 2)
    distance = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
    return (1 / (1 + np.exp(4 * (distance - 1)))).astype(np.float32)


MASKS = {
    "noise": lambda random: random.random((28, 28), dtype=np.float32),
    "blob": blob,
    "full": lambda _: np.ones((28, 28), np.float32),
    "empty": lambda _: np.zeros((28, 28), np.float32),
    "one cell": lambda random: np.eye(784, dtype=np.float32)[random.integers(784)].reshape(28, 28),
}


def box_around(center, size):
    half = np.asarray(size) / 2
    return np.concatenate([center - half, center + half]).astype(np.float32)


def anywhere(random):
    return random.uniform((-20, -20), (FRAME[1] + 20, FRAME[0] + 20))


BOXES = {
    "ordinary": lambda random: box_around(anywhere(random), random.uniform(2, 80, 2)),
    "sub-pixel": lambda random: box_around(anywhere(random), random.uniform(1e-3, 1, 2)),
    "one pixel": lambda random: np.floor(box_around(anywhere(random), (1, 1))),
    "whole pixels": lambda random: np.round(box_around(anywhere(random), random.integers(1, 60, 2) * 2)),
    "thin": lambda random: box_around(anywhere(random), random.permutation([1.5, 70])),
    "huge": lambda random: box_around(anywhere(random), random.uniform(300, 1500, 2)),
    "at a corner": lambda random: box_around(random.choice([0, 1], 2) * FRAME[::-1], random.uniform(4, 60, 2)),
    "across the left": lambda random: np.float32([-30, 20, random.uniform(0.1, 40), 60]),
    "across the top": lambda random: np.float32([20, -30, 60, random.uniform(0.1, 40)]),
    "across the right": lambda random: np.float32([FRAME[1] - random.uniform(0.1, 40), 20, FRAME[1] + 25, 60]),
    "across the bottom": lambda random: np.float32([20, FRAME[0] - random.uniform(0.1, 40), 60, FRAME[0] + 25]),
    "the whole frame": lambda _: np.float32([0, 0, FRAME[1], FRAME[0]]),
}


@pytest.mark.parametrize("rule", REFERENCES)
@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("masks", MASKS)
def test_pixels_are_the_references(rule, boxes, masks):
    random = np.random.default_rng([len(boxes), len(masks), len(rule)])
    for _ in range(12):
        assert_pasted_like(rule, MASKS[masks](random), BOXES[boxes](random))


@pytest.mark.parametrize("rule", REFERENCES)
@pytest.mark.parametrize("size", [(1080, 1920), (1500, 20), (20, 3000)])
def test_pixels_are_the_references_on_large_boxes_that_are_worked_in_blocks(rule, size):
    random = np.random.default_rng(5)
    height, width = size
    for mask in (blob(random), MASKS["noise"](random)):
        assert_pasted_like(rule, mask, np.float32([-3.3, 2.2, width - 4.4, height + 5.5]), size)


@pytest.mark.parametrize("rule", REFERENCES)
@pytest.mark.parametrize("box", [(-50, 10, -20, 40), (10, -90, 40, -20), (170, 10, 200, 40), (10, 140, 40, 170)])
def test_a_box_off_the_frame_has_no_pixel(rule, box):
    crop = paste_mask(np.ones((28, 28), np.float32), np.float32(box), *FRAME, rule=rule)
    assert crop.area == 0
    assert not crop.on_canvas(*FRAME).any()


def test_a_box_without_size_is_one_pixel_to_torchvision():
    mask, box = np.ones((28, 28), np.float32), np.float32([30.4, 20.6, 30.4, 20.6])
    assert_pasted_like("torchvision", mask, box)
    assert paste_mask(mask, box, *FRAME).area == 1


@pytest.mark.parametrize("box", [(30, 20, 30, 40), (30, 20, 50, 20), (30, 20, 30, 20), (30, 20, 10, 10)])
def test_a_box_without_size_is_nothing_to_detectron2(box):
    assert paste_mask(np.ones((28, 28), np.float32), np.float32(box), *FRAME, rule="detectron2").area == 0


@pytest.mark.parametrize("value", [0.5, np.nextafter(np.float32(0.5), np.float32(0))])
def test_a_pixel_at_the_threshold_belongs_to_the_object(value):
    # Two pixels to a cell: the weights are quarters, so nothing is rounded.
    mask = np.full((28, 28), value, np.float32)
    crop = paste_mask(mask, np.float32([10, 10, 66, 66]), *FRAME, rule="detectron2")
    inner = crop.on_canvas(*FRAME)[11:65, 11:65]
    assert inner.all() if value == 0.5 else not inner.any()


def test_a_pixel_where_one_run_ends_and_the_next_begins_belongs_to_one_of_them():
    # The middle cell is next to the threshold on a pixel, and both outlines within rounding of that pixel.
    mask = np.ones((3, 3), np.float32)
    mask[:, 1] = np.nextafter(np.float32(0.5), np.float32(0))
    crop = paste_mask(mask, np.array([5.4985, 3, 5.5015, 9], np.float32), 20, 20, rule="detectron2")
    assert np.unique(np.nonzero(crop.on_canvas(20, 20))[1]).tolist() == [5]


@pytest.mark.parametrize("threshold", [0.6, 0.9])
def test_a_higher_threshold_gives_fewer_pixels(threshold):
    random = np.random.default_rng(1)
    mask, box = blob(random), np.float32([10, 10, 80, 70])
    probability = torchvision_probability(mask, box, FRAME)
    crop = paste_mask(mask, box, *FRAME, threshold=threshold)
    decided = np.abs(probability - threshold) > UNDECIDED
    np.testing.assert_array_equal(crop.on_canvas(*FRAME)[decided], (probability >= threshold)[decided])


@pytest.mark.parametrize("size", [1, 7, 14, 56])
def test_masks_of_other_sizes_paste_as_well(size):
    random = np.random.default_rng(size)
    for rule in REFERENCES:
        assert_pasted_like(
            rule, random.random((size, size), dtype=np.float32), np.float32([10.3, 5.5, 90.2, 71.1])
        )


def test_half_precision_masks_paste_as_their_values():
    mask = blob(np.random.default_rng(2)).astype(np.float16)
    half, single = (paste_mask(m, np.float32([5, 5, 80, 60]), *FRAME) for m in (mask, mask.astype(np.float32)))
    np.testing.assert_array_equal(half.mask, single.mask)


def plain_probability(rule, mask, box, frame):
    """float64 [H, W]: each pixel is the sum of all cells, weighted by how near they are."""
    height, width = frame
    x0, y0, x1, y1 = box
    down, across = (
        np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(len(mask))))
        for positions in (
            plain_positions(rule, y0, y1, len(mask), height),
            plain_positions(rule, x0, x1, len(mask), width),
        )
    )
    return down @ mask.astype(np.float64) @ across.T


def plain_positions(rule, low, high, size, limit):
    pixels = np.arange(limit, dtype=np.float64)
    if rule == "detectron2":
        return (pixels + 0.5 - float(low)) / (float(high) - float(low)) * size - 0.5
    half, center = (high - low) * np.float32(0.5) * np.float32((size + 2) / size), (high + low) * np.float32(0.5)
    first, last = int(center - half), int(center + half)
    length = max(last - first + 1, 1)
    positions = (pixels - first + 0.5) * float(np.float32((size + 2) / length)) - 1.5
    return np.where((pixels >= first) & (pixels < first + length), positions, -1)


@pytest.mark.slow
@pytest.mark.parametrize("rule", REFERENCES)
@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
def test_thousands_of_masks_at_once_are_their_plain_interpolation(rule, threshold):
    random = np.random.default_rng([int(100 * threshold), len(rule)])
    masks = np.stack([random.choice(list(MASKS.values()))(random) for _ in range(1000)])
    boxes = np.stack([random.choice(list(BOXES.values()))(random) for _ in range(1000)])
    crops = list(paste_masks(masks, boxes, *FRAME, rule=rule, threshold=threshold))
    for crop, mask, box in zip(crops, masks, boxes, strict=True):
        probability = plain_probability(rule, mask, box, FRAME)[crop.window]
        # The threshold is held in single precision, as masks are.
        decided = np.abs(probability - threshold) > 1e-7
        wanted = probability >= threshold
        np.testing.assert_array_equal(crop.mask[decided], wanted[decided], err_msg=f"box {box}")


@pytest.mark.parametrize("rule", REFERENCES)
@pytest.mark.parametrize("values", [(0, 1), (0.25, 0.5, 0.75, 1), (0.49999997, 0.5), (0.4999, 0.5, 0.5001)])
def test_outlines_are_exact_where_cells_are_at_the_threshold_or_next_to_it(rule, values):
    random = np.random.default_rng([len(values), len(rule)])
    masks = random.choice(np.float32(values), (300, 14, 14))
    boxes = np.stack([random.choice(list(BOXES.values()))(random) for _ in range(300)])
    for crop, mask, box in zip(paste_masks(masks, boxes, *FRAME, rule=rule), masks, boxes, strict=True):
        probability = plain_probability(rule, mask, box, FRAME)[crop.window]
        decided = np.abs(probability - 0.5) > 1e-9
        np.testing.assert_array_equal(crop.mask[decided], (probability >= 0.5)[decided], err_msg=f"box {box}")


@pytest.mark.parametrize("batch", [1, 3000, 10**9])
def test_masks_are_the_same_in_batches_of_any_size(batch, monkeypatch):
    random = np.random.default_rng(3)
    masks = np.stack([random.choice(list(MASKS.values()))(random) for _ in range(60)])
    boxes = np.stack([random.choice(list(BOXES.values()))(random) for _ in range(60)])
    monkeypatch.setattr(masks_module, "_BATCH", batch)
    for crop, mask, box in zip(paste_masks(masks, boxes, *FRAME), masks, boxes, strict=True):
        alone = paste_mask(mask, box, *FRAME)
        assert (crop.x, crop.y) == (alone.x, alone.y)
        np.testing.assert_array_equal(crop.mask, alone.mask)


def test_packed_crops_begin_on_the_grid():
    random = np.random.default_rng(4)
    masks = np.stack([blob(random) for _ in range(60)])
    boxes = np.stack([random.choice(list(BOXES.values()))(random) for _ in range(60)])
    packed = paste_bitmasks(masks, boxes, *FRAME, grid=8)
    for crop, plain in zip(packed, paste_masks(masks, boxes, *FRAME), strict=True):
        assert crop.x % 8 == 0
        assert crop.x + crop.width <= FRAME[1]
        assert crop.area == plain.area
        canvas = np.zeros(FRAME, np.uint8)
        canvas[crop.y : crop.y + len(crop.bits), crop.x : crop.x + crop.width] = crop.unpack()
        np.testing.assert_array_equal(canvas.astype(bool), plain.on_canvas(*FRAME))


def test_no_mask_is_no_crop():
    nothing = np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)
    assert list(paste_masks(*nothing, *FRAME)) == []


@pytest.mark.parametrize("rule", REFERENCES)
@pytest.mark.parametrize("width", [112, 28, 14, 9.5, 0.5])
def test_a_row_may_have_many_runs_and_runs_less_than_a_pixel(rule, width):
    comb = np.zeros((28, 28), np.float32)
    comb[:, ::2] = 1
    box = np.float32([4, 10, 4 + width, 70])
    assert_pasted_like(rule, comb, box)
    if width == 112:
        row = paste_mask(comb, box, *FRAME, rule=rule).on_canvas(*FRAME)[40].astype(np.int8)
        assert np.count_nonzero(np.diff(row) == 1) == 14


def test_a_pixel_on_a_cell_at_the_threshold_belongs_to_the_object():
    # One pixel to a cell: each pixel is one cell.
    mask = np.full((28, 28), 0.25, np.float32)
    mask[5, [3, 9, 10, 27]] = 0.5
    mask[6, 0:4] = 0.75, 0.5, np.nextafter(np.float32(0.5), np.float32(0)), 0.5
    crop = paste_mask(mask, np.float32([10, 10, 38, 38]), *FRAME, rule="detectron2")
    assert crop.area == 7
    np.testing.assert_array_equal(crop.on_canvas(*FRAME)[10:38, 10:38], mask >= 0.5)


@pytest.mark.parametrize("rule", REFERENCES)
@pytest.mark.parametrize("threshold", [0, -1, 1e-60])
def test_all_of_the_crop_reaches_a_threshold_of_zero(rule, threshold):
    random = np.random.default_rng(9)
    for boxes in BOXES.values():
        crop = paste_mask(MASKS["one cell"](random), boxes(random), *FRAME, rule=rule, threshold=threshold)
        assert crop.mask.all()


@pytest.mark.parametrize("rule", REFERENCES)
@pytest.mark.parametrize(
    "box", [(np.nan, 0, 9, 9), (0, 0, np.inf, 9), (0, -np.inf, 9, 9), (-3e38, 0, 3e38, np.nan)]
)
def test_a_box_that_is_not_finite_has_no_pixel(rule, box):
    crop = paste_mask(np.ones((28, 28), np.float32), np.float32(box), *FRAME, rule=rule)
    assert (crop.x, crop.y, crop.mask.shape) == (0, 0, (0, 0))


@pytest.mark.parametrize("rule", REFERENCES)
def test_cells_that_are_not_finite_do_not_reach_other_masks(rule):
    random = np.random.default_rng(10)
    masks = np.stack([blob(random) for _ in range(9)])
    boxes = np.stack([BOXES["ordinary"](random) for _ in range(9)])
    alone = [paste_mask(mask, box, *FRAME, rule=rule) for mask, box in zip(masks, boxes, strict=True)]
    masks[1::2, 9:12, 14] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        crops = list(paste_masks(masks, boxes, *FRAME, rule=rule))
    for crop, wanted in list(zip(crops, alone, strict=True))[::2]:
        np.testing.assert_array_equal(crop.mask, wanted.mask)
