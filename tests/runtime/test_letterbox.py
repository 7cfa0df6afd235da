"""A frame goes onto the canvas with its aspect kept, and boxes and label maps come back to it."""

import dataclasses

import cv2
import numpy as np
import pytest

import tiny
from segopt.letterbox import Letterbox, letterbox_frames
from segopt.model.reading import read_card

PADDING = (103, 116, 123)
CANVAS = (96, 160)
FRAMES = [
    (96, 160),
    (48, 80),
    (480, 640),
    (1080, 1920),
    (100, 50),
    (7, 5),
    (1, 1),
    (97, 161),
    (95, 160),
    (96, 31),
    (1, 4000),
    (4000, 1),
    (3, 4000),
]


def placed(frame, canvas=CANVAS):
    letterbox = Letterbox.fit(frame.shape[:2], canvas)
    picture = np.empty((*canvas, 3), np.uint8)
    letterbox.place(frame, picture, PADDING)
    return letterbox, picture


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", FRAMES)
def test_the_content_is_the_largest_of_the_frames_aspect(size):
    content = Letterbox.fit(size, CANVAS).content
    scale = min(CANVAS[0] / size[0], CANVAS[1] / size[1])
    assert content[0] == CANVAS[0] or content[1] == CANVAS[1]
    for got, side, limit in zip(content, size, CANVAS, strict=True):
        assert 1 <= got <= limit
        assert got == pytest.approx(side * scale, abs=0.5) or (side * scale < 1 and got == 1)


@pytest.mark.parametrize("size", FRAMES)
def test_the_picture_lies_at_the_top_left_and_the_rest_is_padding(size):
    frame = noise(size)
    letterbox, picture = placed(frame)
    height, width = letterbox.content
    scaled = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(picture[:height, :width], scaled)
    assert (picture[height:] == PADDING).all()
    assert (picture[:, width:] == PADDING).all()


def test_padding_and_unused_slots_have_the_models_mean_color(tmp_path):
    card = read_card(tiny.semantic_engine(tmp_path / "model.onnx", batch=2))
    card = dataclasses.replace(card, mean=(0.25, 0.5, 0.75))
    image = letterbox_frames([np.zeros((48, 32, 3), np.uint8)], card).image
    assert (image[0, :, :32] == 0).all()
    # The card's mean is RGB, a frame BGR.
    assert (image[0, :, 32:] == (191, 128, 64)).all()
    assert (image[1] == (191, 128, 64)).all()


def test_a_frame_of_the_canvas_size_is_untouched():
    frame = noise(CANVAS)
    letterbox, picture = placed(frame)
    np.testing.assert_array_equal(picture, frame)
    boxes = np.float32([[1.25, 2.5, 30.1, 44.4]])
    np.testing.assert_array_equal(letterbox.boxes_to_frame(boxes), boxes)
    np.testing.assert_array_equal(letterbox.map_to_frame(frame[..., 0]), frame[..., 0])


def test_a_frame_that_fits_without_scaling_is_copied():
    frame = noise((50, 160))
    letterbox, picture = placed(frame)
    assert letterbox.content == (50, 160)
    np.testing.assert_array_equal(picture[:50], frame)


@pytest.mark.parametrize("size", [(48, 80), (480, 640), (1080, 1920), (97, 161), (200, 60)])
def test_what_stands_on_the_canvas_is_found_on_the_frame(size):
    # A bright rectangle: its edges on the canvas, brought back, are where it was painted.
    height, width = size
    box = np.float32([width * 0.25, height * 0.3, width * 0.75, height * 0.8]).round()
    frame = np.zeros((*size, 3), np.uint8)
    x0, y0, x1, y1 = box.astype(int)
    frame[y0:y1, x0:x1] = 255
    letterbox, picture = placed(frame)
    content = picture[: letterbox.content[0], : letterbox.content[1], 0] > 127
    rows, columns = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    on_canvas = np.float32([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]])
    pixel = max(1, height / letterbox.content[0])
    np.testing.assert_allclose(letterbox.boxes_to_frame(on_canvas)[0], box, atol=pixel)
    assert letterbox.boxes_to_frame(on_canvas).dtype == np.float32


@pytest.mark.parametrize("size", FRAMES)
def test_the_contents_corners_are_the_frames(size):
    letterbox = Letterbox.fit(size, CANVAS)
    height, width = letterbox.content
    boxes = np.float32([[0, 0, width, height]])
    np.testing.assert_allclose(letterbox.boxes_to_frame(boxes), [[0, 0, size[1], size[0]]], rtol=1e-6)


def test_no_boxes_are_no_boxes():
    assert Letterbox.fit((10, 20), CANVAS).boxes_to_frame(np.zeros((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize("size", FRAMES)
def test_each_pixel_of_a_label_map_comes_from_the_nearest_center(size):
    letterbox = Letterbox.fit(size, CANVAS)
    # Label maps that spell the row and the column of each canvas pixel.
    rows, columns = (letterbox.map_to_frame(index) for index in np.indices(CANVAS, dtype=np.uint8))
    assert rows.shape == columns.shape == size
    assert rows.dtype == np.uint8
    for axis, found in ((0, rows), (1, columns)):
        content = letterbox.content[axis]
        centers = (np.arange(size[axis]) + 0.5) * content / size[axis]
        distance = np.abs(np.moveaxis(found, axis, -1) + 0.5 - centers)
        nearest = np.abs(np.arange(content)[:, None] + 0.5 - centers).min(axis=0)
        # OpenCV steps in units of 1/65536 pixel, and the rounding adds up along a side.
        assert (distance <= nearest + size[axis] / 65536 + 1e-3).all()


@pytest.mark.parametrize("size", [(48, 80), (96, 160), (192, 320), (288, 480)])
def test_a_label_map_survives_the_way_there_and_back(size):
    # Blocks of at least one canvas pixel: nearest neighbor keeps them exactly at whole scales.
    coarse = np.random.default_rng(1).integers(0, 21, (12, 20), dtype=np.uint8)
    classes = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST)
    letterbox = Letterbox.fit(size, CANVAS)
    on_canvas = cv2.resize(classes, CANVAS[::-1], interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(letterbox.map_to_frame(on_canvas), classes)


def test_padding_never_reaches_the_frame():
    letterbox = Letterbox.fit((480, 333), CANVAS)
    on_canvas = np.full(CANVAS, 255, np.uint8)
    on_canvas[: letterbox.content[0], : letterbox.content[1]] = 1
    assert (letterbox.map_to_frame(on_canvas) == 1).all()


def test_label_maps_are_contiguous():
    on_canvas = np.zeros(CANVAS, np.uint8)
    for size in [(96, 160), (50, 160), (480, 640)]:
        letterbox = Letterbox.fit(size, CANVAS)
        classes = letterbox.map_to_frame(on_canvas)
        assert classes.flags.c_contiguous


@pytest.mark.parametrize("size", FRAMES)
def test_a_stretched_frame_fills_the_canvas(size):
    frame = noise(size)
    letterbox = Letterbox.fit(size, CANVAS, "stretch")
    picture = np.empty((*CANVAS, 3), np.uint8)
    letterbox.place(frame, picture, PADDING)
    np.testing.assert_array_equal(picture, cv2.resize(frame, CANVAS[::-1], interpolation=cv2.INTER_LINEAR))
    corners = letterbox.boxes_to_frame(np.float32([[0, 0, CANVAS[1], CANVAS[0]]]))
    np.testing.assert_allclose(corners, [[0, 0, size[1], size[0]]], rtol=1e-6)
    assert letterbox.extent == pytest.approx(size)


@pytest.mark.parametrize("size", FRAMES)
def test_the_extent_is_the_canvas_on_the_frames_pixels(size):
    letterbox = Letterbox.fit(size, CANVAS)
    corners = letterbox.boxes_to_frame(np.float32([[0, 0, CANVAS[1], CANVAS[0]]]))
    assert letterbox.extent[::-1] == pytest.approx(tuple(corners[0, 2:]))
