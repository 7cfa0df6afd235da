"""A pasted mask is, pixel by pixel, what torchvision and Detectron2 paste."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segopt.masks import paste_mask

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
    """Sample the mask at the centre of each pixel of the whole frame, in the box's own coordinates."""
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
