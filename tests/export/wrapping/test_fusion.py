"""Two models behind one image: each answers as it did alone, and together they make a panoptic map."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import lively
import segopt
import segopt_export
import tiny
from stand_ins import CANVAS, DetrLike, MaskRcnnLike, exported

CATEGORIES = [{"name": "road"}, {"name": "class 1"}, {"name": "sky"}]


class Semantic(nn.Module):
    """Which channel is largest, at a quarter of the size."""

    def forward(self, x):
        smooth = nn.functional.avg_pool2d(x, 4)
        return smooth - smooth.mean(dim=(2, 3), keepdim=True)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path)
    torch.manual_seed(4)
    return tmp_path


def write_classes(folder):
    (folder / "semantic.json").write_text(json.dumps(CATEGORIES))
    (folder / "things.json").write_text(json.dumps([f"class {i}" for i in range(5)]))


def semantic(size=CANVAS, **options):
    exported(Semantic(), "s.onnx", ["logits"], size)
    return segopt_export.wrap("s.onnx", classes="semantic.json", output="semantic.onnx", **options).path


def instance(kind=DetrLike, size=CANVAS, **options):
    exported(kind(size=size), "i.onnx", kind.OUTPUTS, size)
    said = {"classes": "things.json", "resize": "letterbox", **options}
    return segopt_export.wrap("i.onnx", output="instance.onnx", **said).path


def frame(size=(150, 200), seed=5):
    return lively.pictures(1, size, seed=seed)[0].numpy()


@pytest.mark.parametrize("kind", [DetrLike, MaskRcnnLike])
def test_each_view_answers_as_its_own_file(kind):
    files = semantic(), instance(kind)
    made = segopt_export.wrap(semantic=files[0], instance=files[1], output="both.onnx")
    assert (made.card.mode, made.card.views) == ("panoptic", ("panoptic", "semantic", "instance"))
    assert all(figure.good for figure in made.figures)
    # A semantic class that the detector knows by name is no stuff.
    assert [c.name for c in made.card.categories["panoptic"] if not c.is_thing] == ["road", "sky"]
    picture = frame()
    for mode, path in zip(("semantic", "instance"), files, strict=True):
        with segopt.load(path) as alone, segopt.load(made.path, mode=mode) as view:
            expected, found = alone(picture), view(picture)
        if mode == "semantic":
            np.testing.assert_array_equal(found.classes, expected.classes)
        else:
            assert len(found) > 2
            np.testing.assert_array_equal(found.masks, expected.masks)
            np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_video_of_panoptic_maps(segopt_cli):
    semantic(), instance()
    status, out, err = segopt_cli(
        "wrap", "--semantic", "semantic.onnx", "--instance", "instance.onnx", "--output", "both.onnx"
    )
    assert status == 0, err
    assert "2 semantic classes are stuff: road, sky" in out
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 5, (200, 150))
    for seed in range(3):
        writer.write(frame(seed=seed))
    writer.release()
    status, _, err = segopt_cli(
        "run", "--engine", "both.onnx", "clip.avi", "--output", "out", "--save", "overlay,panoptic", "--track"
    )
    assert status == 0, err
    with segopt.load("both.onnx", stuff_area=1) as segmenter:
        result = segmenter(frame())
    assert {segment.is_thing for segment in result.segments} == {True, False}


def test_canvases_of_two_sizes_become_the_larger_one():
    semantic((64, 64)), instance()
    made = segopt_export.wrap(semantic="semantic.onnx", instance="instance.onnx", output="both.onnx")
    assert made.card.canvas == CANVAS
    assert any("resized to 64x64 for semantic.onnx" in note for note in made.notes)
    smaller = segopt_export.wrap(
        semantic="semantic.onnx", instance="instance.onnx", size="64x64", output="smaller.onnx"
    )
    assert any("resized to 96x128 for instance.onnx" in note for note in smaller.notes)
    for made_ in (made, smaller):
        assert all(figure.good for figure in made_.figures), made_.figures
        with segopt.load(made_.path) as segmenter:
            assert len(segmenter(frame()).segments) > 1


def test_a_file_says_which_classes_are_stuff(place):
    semantic(), instance()
    said = [
        {"name": "road", "isthing": 0, "id": 77},
        {"name": "class 1", "isthing": 1},
        {"name": "sky", "isthing": 1},
    ]
    (place / "said.json").write_text(json.dumps(said))
    made = segopt_export.wrap(
        semantic="semantic.onnx", instance="instance.onnx", classes="said.json", output="both.onnx"
    )
    assert made.card.stuff_classes == {0: 77}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DetrLike, MaskRcnnLike])
@pytest.mark.parametrize("size", [CANVAS, (64, 64)])
def test_it_becomes_a_plan(kind, size):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
    semantic(size, target="tensorrt"), instance(kind, target="tensorrt")
    made = segopt_export.wrap(semantic="semantic.onnx", instance="instance.onnx", output="both.onnx")
    assert made.card.target == "tensorrt"
    assert segopt.build(made.path, runtime="tensorrt-rtx").path.exists()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A semantic and an instance model, one that stretches, and one of two frames."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_classes(folder)
        semantic(), instance()
        segopt_export.wrap("i.onnx", classes="things.json", family="rfdetr", output="stretched.onnx")
        exported(DetrLike(), "i2.onnx", DetrLike.OUTPUTS, batch=2)
        segopt_export.wrap("i2.onnx", classes="things.json", resize="letterbox", batch=2, output="two.onnx")
        tiny.looped_engine(Path("looped.onnx"), "instance", [((2, 2, 20, 20), 0.9, 1)], 4)
    return folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"semantic": "instance.onnx"}, ["instance.onnx: is a model for instance segmentation; --semantic takes"]),
        ({"instance": "semantic.onnx"}, ["semantic.onnx: is a model for semantic segmentation; --instance takes"]),
        ({"semantic": "s.onnx"}, ["s.onnx", "not one of segopt's"]),
        ({"semantic": "none.onnx"}, ["none.onnx"]),
        ({"semantic": "a.plan"}, ["a.plan: --semantic takes an .onnx file"]),
        ({"semantic": None}, ["--semantic is missing"]),
        ({"instance": None}, ["--instance is missing"]),
        ({"model": "s.onnx"}, ["MODEL is for one file of another maker"]),
        ({"kind": "maskrcnn"}, ["--kind is for one file"]),
        ({"size": "big"}, ["--size big is no size"]),
        ({"resize": "crop"}, ["--resize crop is unknown"]),
        ({"instance": "stretched.onnx"}, ["letterbox", "stretch; choose with --resize"]),
        ({"instance": "looped.onnx"}, ["looped.onnx: computes masks in a loop", "`segopt export --all-masks`"]),
        ({"instance": "two.onnx"}, ["takes 1 frames at once", "2; make one of them again"]),
    ],
)
def test_what_does_not_go_together_is_one_line_and_writes_nothing(place, files, options, words):
    shutil.copytree(files, place, dirs_exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    with pytest.raises(segopt.SegoptError) as error:
        segopt_export.wrap(
            **{"semantic": "semantic.onnx", "instance": "instance.onnx", "output": "both.onnx", **options}
        )
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def test_neither_one_file_nor_two_says_what_to_give(segopt_cli):
    status, _, err = segopt_cli("wrap")
    assert status != 0
    assert "give MODEL.onnx with --classes FILE.json, or two models of segopt" in err
