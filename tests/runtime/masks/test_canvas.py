"""A mask over the whole canvas is, pixel by pixel, what bilinear interpolation of its logits gives."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

import segopt.masks.canvas as canvas_module
from segopt.masks.paste import paste_bitmasks, paste_mask, paste_masks
from segopt.merge import merge_panoptic

UNDECIDED = 1e-4
"""Within this of the threshold, rounding may tip a pixel either way."""


def interpolated(masks, frame, extent=None):
    """float [N, H, W]: torch's resizing of the masks to the whole canvas, of which the frame is the top left."""
    height, width = extent or frame
    resized = functional.interpolate(
        torch.from_numpy(masks).double()[:, None], size=(height, width), mode="bilinear", align_corners=False
    )
    return resized[:, 0, : frame[0], : frame[1]].numpy()


def inside(boxes, frame):
    y, x = np.mgrid[: frame[0], : frame[1]]
    x0, y0, x1, y1 = boxes.T[:, :, None, None]
    return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def logits(random, count, size):
    """As networks give them: smooth blobs of any place and size, some over the edge, some of nothing."""
    coarse = random.normal(0, 3, (count, 7, 9)).astype(np.float32)
    smooth = [cv2.resize(each, size[::-1], interpolation=cv2.INTER_CUBIC) for each in coarse]
    offsets = random.uniform(-8, 3, (count, 1, 1)).astype(np.float32)
    return np.stack(smooth) + offsets


def boxes_in(random, count, frame):
    corners = np.sort(random.uniform(-0.2, 1.2, (count, 2, 2)), axis=1) * frame[::-1]
    return corners.reshape(count, 4).astype(np.float32)


def assert_pasted(masks, boxes, frame, rule, extent=None, grid=1):
    values = interpolated(masks, frame, extent)
    expected = values >= 0
    decided = np.abs(values) > UNDECIDED
    if rule == "canvas-box":
        cut = inside(boxes, frame)
        expected &= cut
        decided |= ~cut
    crops = list(paste_bitmasks(masks, boxes, *frame, rule=rule, extent=extent, grid=grid))
    assert len(crops) == len(masks)
    for crop, mask, sure in zip(crops, expected, decided, strict=True):
        plane = np.zeros(frame, bool)
        bits = crop.unpack().astype(bool)
        plane[crop.y : crop.y + len(bits), crop.x : crop.x + crop.width] = bits
        np.testing.assert_array_equal(plane[sure], mask[sure])
        assert crop.area == np.count_nonzero(plane)
        assert crop.x % grid == 0
        if rule == "canvas-box" and crop.area:
            assert bits.shape[0] * bits.shape[1] <= np.count_nonzero(mask) * 400 + 64 * sum(frame)


@pytest.mark.parametrize("rule", ["canvas", "canvas-box"])
@pytest.mark.parametrize("size", [(24, 24), (40, 56), (78, 78), (13, 61)])
@pytest.mark.parametrize("frame", [(90, 130), (61, 47), (24, 24), (300, 11), (7, 300)])
def test_pixels_are_those_of_interpolation(rule, size, frame):
    random = np.random.default_rng([*size, *frame])
    masks = logits(random, 10, size)
    assert_pasted(masks, boxes_in(random, 10, frame), frame, rule)


@pytest.mark.parametrize("rule", ["canvas", "canvas-box"])
@pytest.mark.parametrize("extent", [(90, 200), (170, 130), (91, 131)])
def test_beside_a_letterboxed_frame_the_mask_goes_on(rule, extent):
    random = np.random.default_rng(extent)
    masks = logits(random, 10, (32, 48))
    assert_pasted(masks, boxes_in(random, 10, (90, 130)), (90, 130), rule, extent, grid=8)


def test_noise_and_single_cells_are_no_exception():
    random = np.random.default_rng(3)
    noise = random.normal(0, 1, (4, 20, 30)).astype(np.float32)
    cells = np.full((4, 20, 30), -5, np.float32)
    cells[[0, 1, 2, 3], [0, 19, 7, 11], [0, 29, 29, 3]] = 6
    everything, nothing = np.full((1, 20, 30), 4, np.float32), np.full((1, 20, 30), -4, np.float32)
    masks = np.concatenate([noise, cells, everything, nothing])
    boxes = boxes_in(random, len(masks), (83, 95))
    for rule in ("canvas", "canvas-box"):
        assert_pasted(masks, boxes, (83, 95), rule)


def test_windows_may_be_copied_in_any_number_at_once(monkeypatch):
    random = np.random.default_rng(4)
    masks, boxes = logits(random, 12, (40, 40)), boxes_in(random, 12, (100, 120))
    whole = [crop.mask for crop in paste_masks(masks, boxes, 100, 120, rule="canvas")]
    monkeypatch.setattr(canvas_module, "_MOST_CELLS", 1)
    for crop, mask in zip(paste_masks(masks, boxes, 100, 120, rule="canvas"), whole, strict=True):
        np.testing.assert_array_equal(crop.mask, mask)


@pytest.mark.parametrize("box", [(-30, 10, -5, 40), (np.nan, 0, 50, 50), (np.inf, 0, 50, 50), (40, 40, 40, 60)])
def test_a_box_off_the_frame_or_without_size_cuts_everything(box):
    mask = np.ones((20, 20), np.float32)
    assert paste_mask(mask, np.float32(box), 50, 60, rule="canvas-box").area == 0
    assert paste_mask(mask, np.float32(box), 50, 60, rule="canvas").area == 50 * 60


def test_no_masks_are_no_crops():
    empty = np.zeros((0, 20, 20), np.float32), np.zeros((0, 4), np.float32)
    for rule in ("canvas", "canvas-box"):
        assert list(paste_masks(*empty, 50, 60, rule=rule)) == []


def test_a_higher_threshold_is_one_of_probability():
    ramp = np.tile(np.linspace(-4, 4, 80, dtype=np.float32), (4, 1))
    crop = paste_mask(ramp, np.float32([0, 0, 80, 4]), 4, 80, rule="canvas", threshold=0.9)
    probability = 1 / (1 + np.exp(-np.linspace(-4, 4, 80)))
    assert crop.area == 4 * np.count_nonzero(probability >= 0.9)


def test_the_merge_takes_them():
    masks = np.full((2, 8, 12), -3, np.float32)
    masks[0, :, :6] = 3
    masks[1, :, 4:] = 3
    segment_map, segments = merge_panoptic(
        np.tile(np.float32([0, 0, 120, 80]), (2, 1)),
        np.float32([0.9, 0.8]),
        np.array([1, 2]),
        masks,
        np.zeros((80, 120), np.uint8),
        {},
        paste="canvas",
    )
    assert [segment.category_id for segment in segments] == [1, 2]
    assert (segment_map[:, :60] == 1).all()
    assert (segment_map[:, 60:] == 2).all()


def test_masks_in_boxes_must_still_be_square():
    arrays = np.zeros((1, 4), np.float32), np.float32([0.9]), np.array([1])
    with pytest.raises(ValueError, match=r"must be \[N, M, M\]"):
        merge_panoptic(*arrays, np.zeros((1, 8, 12), np.float32), np.zeros((80, 120), np.uint8), {})
