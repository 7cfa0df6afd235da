"""Whatever holds one picture plainly is the same frame to a segmenter; what does not is refused in one line."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import segopt
import tiny
from segopt.errors import SourceError, UsageError
from segopt.inputs import as_frame, frames_of

RNG = np.random.default_rng(5)
FRAME = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), FRAME)
    return path


class OfAnotherLibrary:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize(
    "given",
    [
        FRAME,
        FRAME[::-1][::-1],
        Image.fromarray(FRAME[..., ::-1].copy()),
        Image.fromarray(np.dstack([FRAME[..., ::-1], RNG.integers(0, 256, (30, 40), dtype=np.uint8)])),
        torch.from_numpy(FRAME),
        torch.from_numpy(FRAME).requires_grad_(False)[:, :],
        OfAnotherLibrary(FRAME),
    ],
    ids=["array", "view", "PIL", "PIL RGBA", "tensor", "tensor view", "another library"],
)
def test_every_form_of_a_picture_is_the_same_frame(given):
    frame = as_frame(given)
    assert (frame.dtype, frame.shape) == (np.uint8, FRAME.shape)
    np.testing.assert_array_equal(frame, FRAME)


@pytest.mark.parametrize("make", [str, Path])
def test_a_path_is_read(picture, make):
    np.testing.assert_array_equal(as_frame(make(picture)), FRAME)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_a_pil_image_of_another_mode_has_the_colors_that_pil_says(mode):
    image = Image.fromarray(FRAME).convert(mode)
    np.testing.assert_array_equal(as_frame(image), np.asarray(image.convert("RGB"))[..., ::-1])


@pytest.mark.parametrize("form", [list, tuple, iter, lambda frames: (frame for frame in frames), np.stack])
@pytest.mark.parametrize("batch", [1, 2])
def test_several_pictures_give_a_list(tmp_path, form, batch):
    segmenter = segopt.load(tiny.semantic_engine(tmp_path / "e.onnx", batch=batch))
    frames = [FRAME, FRAME[::-1].copy(), FRAME[:, ::-1].copy()]
    results = segmenter(form(frames))
    assert isinstance(results, list)
    assert results == [segmenter(frame) for frame in frames]


def test_a_batch_of_tensors_and_a_list_of_mixed_forms_work(semantic_engine, picture):
    segmenter = segopt.load(semantic_engine)
    alone = segmenter(FRAME)
    assert segmenter(torch.from_numpy(np.stack([FRAME, FRAME]))) == [alone, alone]
    assert segmenter([picture, str(picture), FRAME, Image.open(picture), torch.from_numpy(FRAME)]) == [alone] * 5
    assert segmenter(np.zeros((0, 4, 4, 3), np.uint8)) == []


def test_a_generator_is_read_as_it_is_used():
    taken = []

    def frames():
        for i in range(5):
            taken.append(i)
            yield FRAME

    queue, several = frames_of(frames())
    assert several
    next(queue)
    assert taken == [0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (FRAME.astype(np.float32), ["float32", "(30, 40, 3)", "astype(np.uint8)"]),
        (FRAME[..., 0], ["uint8 (30, 40)", "COLOR_GRAY2BGR"]),
        (FRAME[..., :1], ["uint8 (30, 40, 1)", "COLOR_GRAY2BGR"]),
        (np.dstack([FRAME, FRAME[..., :1]]), ["(30, 40, 4)", "[..., :3]", "[..., 2::-1]"]),
        (FRAME.transpose(2, 0, 1), ["(3, 30, 40)", "transpose(1, 2, 0)"]),
        (FRAME.astype(np.uint16), ["uint16", ">> 8"]),
        (np.zeros((2, 3, 30, 40), np.uint8), ["(2, 3, 30, 40)", "[B, h, w, 3]"]),
        (np.array(FRAME, dtype=object), ["object"]),
        (np.float32(3), ["float32"]),
        (torch.zeros(3, 30, 40), ["torch.float32", "(3, 30, 40)", "mul(255)", "permute(1, 2, 0).flip(-1)"]),
        (torch.zeros(3, 30, 40, dtype=torch.uint8), ["(3, 30, 40)", "permute(1, 2, 0).flip(-1)"]),
        (torch.zeros(2, 3, 30, 40, dtype=torch.uint8), ["permute(0, 2, 3, 1).flip(-1)"]),
        (torch.zeros(30, 40, 3, dtype=torch.bfloat16), ["torch.bfloat16", "byte()"]),
        (torch.zeros(30, 40, dtype=torch.uint8), ["uint8 (30, 40)"]),
        (Image.new("I;16", (4, 4)), ["I;16", "convert('RGB')"]),
        (Image.new("F", (4, 4)), ["'F'"]),
        (None, ["NoneType", "cv2.imread", "pass the path"]),
        (0, ["int", "segopt.stream(segmenter, index)"]),
        (b"\xff\xd8\xff", ["bytes", "cv2.imdecode"]),
        ({"image": FRAME}, ["dict", "values"]),
        (object(), ["object", "PIL image"]),
        (cv2.UMat(FRAME), ["UMat"]),
        ([[FRAME]], ["list"]),
        ([FRAME, None], ["NoneType"]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_what_is_no_picture_is_refused_in_one_line_that_says_what_to_pass(semantic_engine, given, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below
        segopt.load(semantic_engine)(given)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_the_advice_for_a_tensor_is_right():
    """What the message says to pass has the colors and the layout of the frame."""
    chw = torch.from_numpy(FRAME[..., ::-1].copy()).permute(2, 0, 1)
    np.testing.assert_array_equal(as_frame(chw.permute(1, 2, 0).flip(-1)), FRAME)
    floats = chw.float() / 255
    np.testing.assert_array_equal(as_frame(floats.mul(255).round().byte().permute(1, 2, 0).flip(-1)), FRAME)
    rgb = chw.numpy()
    np.testing.assert_array_equal(as_frame(rgb.transpose(1, 2, 0)[..., ::-1]), FRAME)
    rgba = np.dstack([FRAME[..., ::-1], FRAME[..., :1]])
    np.testing.assert_array_equal(as_frame(rgba[..., 2::-1]), FRAME)


@pytest.mark.parametrize("name", ["", "street.mp4", "rtsp://camera/1"])
def test_what_is_more_than_one_picture_is_for_stream(tmp_path, semantic_engine, name):
    given = name if "://" in name else str(tmp_path / name)
    with pytest.raises(UsageError, match=r"segopt.stream\(segmenter, ") as caught:
        segopt.load(semantic_engine)(given)
    assert given in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(semantic_engine):
    with pytest.raises(SourceError, match=r"nowhere\.jpg: cannot be read"):
        segopt.load(semantic_engine)("nowhere.jpg")
