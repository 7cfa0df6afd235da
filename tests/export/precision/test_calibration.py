"""Calibration pictures are prepared as the runtime prepares frames, and odd folders are survived."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import lively
from segopt.errors import SourceError
from segopt_export.precision.calibration import MAX_PICTURES, read_pictures
from segopt_export.precision.fitting import fit_to_half
from segopt_export.static.graph import Normalize, SegmentationGraph
from segopt_export.static.semantic import StaticSemantic

MEAN = (0.25, 0.5, 0.75)


def write(folder, count, size=(40, 60)):
    for i in range(count):
        picture = np.full((*size, 3), i, dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"{i:03}.png"), picture)


def test_pictures_are_letterboxed_onto_the_canvas(tmp_path):
    write(tmp_path, 2, size=(32, 32))
    images, unread = read_pictures(str(tmp_path), (32, 64), MEAN)
    assert unread is None
    assert [(tuple(i.shape), i.dtype) for i in images] == [((1, 32, 64, 3), torch.uint8)] * 2
    assert (images[1][0, :, :32] == 1).all()
    assert images[1][0, 5, 40].tolist() == [191, 128, 64], "BGR of the mean color"


def test_a_large_folder_is_sampled_over_its_whole_length(tmp_path):
    write(tmp_path, 3 * MAX_PICTURES)
    images, _ = read_pictures(str(tmp_path), (40, 60), MEAN)
    assert [int(image[0, 0, 0, 0]) for image in images] == list(range(0, 3 * MAX_PICTURES, 3))


def test_a_broken_picture_is_left_out_and_named(tmp_path):
    write(tmp_path, 2)
    (tmp_path / "half.jpg").write_bytes(b"not a picture")
    images, unread = read_pictures(str(tmp_path), (32, 32), MEAN)
    assert len(images) == 2
    assert "half.jpg" in str(unread)


@pytest.mark.parametrize("content", [None, b"not a picture"])
def test_a_folder_without_any_picture_is_refused(tmp_path, content):
    if content:
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError):
        read_pictures(str(tmp_path), (32, 32), MEAN)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceError, match="nowhere"):
        read_pictures(str(tmp_path / "nowhere"), (32, 32), MEAN)


class Backbone(nn.Module):
    """Values grow with the brightness of the picture."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        nn.init.constant_(self.conv.weight, 4000.0)

    def forward(self, x):
        return {"out": self.conv(x).relu()}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.classifier = Backbone(), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return {"out": self.classifier(self.backbone(x)["out"])}


def test_pictures_decide_which_layers_stay_in_single(tmp_path):
    """On a dark picture half holds every value, on a bright one it does not."""
    graph = SegmentationGraph(Normalize((0.0,) * 3, (1.0,) * 3), [StaticSemantic(Network())]).eval()
    example = lively.pictures(2, (32, 32))
    kept = {}
    for name, level in (("dark", 20), ("bright", 255)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "picture.png"), np.full((32, 32, 3), level, dtype=np.uint8))
        fitted = fit_to_half(graph, example, calibration=str(tmp_path / name), mean=MEAN)
        kept[name] = fitted.float_layers
        assert fitted.example.shape == example.shape
        assert (fitted.example == level).all(), "what the exported file is checked on"
        assert "1 picture of" in fitted.notes[0]
    assert kept["dark"] == ()
    assert kept["bright"] == ("branches.0.model.backbone.conv", "branches.0.model.classifier")
    assert "2 layers stay in FP32" in fitted.notes[1]
    assert "branches.0.model.backbone.conv puts out values up to 1.2e+04" in fitted.notes[1]


def test_without_pictures_a_note_says_so():
    graph = SegmentationGraph(Normalize((0.0,) * 3, (1.0,) * 3), [StaticSemantic(Network())]).eval()
    example = lively.pictures(1, (32, 32))
    fitted = fit_to_half(graph, example, calibration=None, mean=MEAN)
    assert fitted.example is example
    assert "synthetic image" in fitted.notes[0]
    assert "--calibration" in fitted.notes[0]
