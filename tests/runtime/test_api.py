"""The public API, line by line, on real models; and the README's own example."""

import re
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

import clips
import segopt
import tiny

README = Path(__file__).parents[2] / "README.md"
PAGE = README.parent / "docs" / "python.md"
BRIGHT = np.full((96, 128, 3), 200, np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def video(tmp_path):
    return clips.clip(tmp_path / "street.mp4", 5)


def loaded(tmp_path, mode=None):
    return segopt.load(tiny.panoptic_engine(tmp_path / "engine.onnx"), device="cpu", mode=mode)


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("semantic", {0: "dark", 1: "bright"}),
        ("instance", {1: "person", 3: "car"}),
        ("panoptic", {1: "person", 3: "car", 200: "sky"}),
    ],
)
def test_load_gives_a_segmenter_with_the_names_of_its_view(tmp_path, mode, names):
    segmenter = loaded(tmp_path, mode)
    assert isinstance(segmenter, segopt.Segmenter)
    assert segmenter.names == names == segmenter(BRIGHT).names


def test_a_segmenter_says_in_a_line_what_it_is(tmp_path):
    import onnxruntime

    runtime = f"ONNX Runtime {onnxruntime.__version__} (CPU)"
    assert repr(loaded(tmp_path)) == f"<Segmenter panoptic tiny + tiny 48x64 fp32, {runtime}>"
    assert repr(loaded(tmp_path, "semantic")) == f"<Segmenter semantic tiny + tiny 48x64 fp32, {runtime}>"
    alone = segopt.load(tiny.semantic_engine(tmp_path / "semantic.onnx"), device="cpu")
    assert repr(alone) == f"<Segmenter semantic tiny 48x64 fp32, {runtime}>"
    alone.close()
    assert "semantic tiny" in repr(alone)


def test_stream_gives_items_with_frame_result_and_overlay(tmp_path, video):
    segmenter = loaded(tmp_path)
    with segopt.stream(segmenter, str(video), stride=2) as items:
        assert isinstance(items, segopt.Stream)
        listed = list(items)
    assert [(item.index, item.time) for item in listed] == [(i, Fraction(2 * i, 25)) for i in (0, 2, 4)]
    for item in listed:
        assert isinstance(item, segopt.Finished)
        assert item.result == segmenter(item.frame)
        np.testing.assert_array_equal(item.overlay, item.result.draw(item.frame))
        assert repr(item) == f"Finished({item.name}, {item.result!r})"


def test_run_saves_results_and_says_what_it_did(tmp_path, video):
    stats = segopt.run(loaded(tmp_path), video, save=("overlay", "coco"), output=tmp_path / "out")
    assert isinstance(stats, segopt.RunStats)
    assert stats.frames == 5
    assert stats.saved == (
        segopt.Saved("overlay", tmp_path / "out" / "street-overlay.mp4", 5),
        segopt.Saved("COCO results", tmp_path / "out" / "coco.json", 5),
    )
    assert clips.play(tmp_path / "out" / "street-overlay.mp4").frames == 5
    assert segopt.run(tmp_path / "engine.onnx", video, max_frames=1).saved[0].path.parts[:2] == ("runs", "street")


def test_build_makes_a_plan(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
    built = segopt.build(tiny.semantic_engine(tmp_path / "e.onnx"), runtime="tensorrt-rtx")
    assert isinstance(built, segopt.Built)
    assert built.path == tmp_path / "e.plan"
    assert built.path.stat().st_size == built.size


def test_a_result_can_be_saved_named_and_compared(tmp_path):
    segmenter = loaded(tmp_path)
    result = segmenter(BRIGHT)
    result.save("overlay.png", BRIGHT)
    np.testing.assert_array_equal(cv2.imread("overlay.png"), result.draw(BRIGHT))
    assert result.names == segmenter.names
    assert result == segmenter(BRIGHT.copy())
    assert result != segmenter(BRIGHT[:50])
    assert repr(result) == "PanopticResult(96x128: person, car, sky)"


def test_an_instance_result_has_length_items_and_masks(tmp_path):
    result = loaded(tmp_path, "instance")(BRIGHT)
    assert len(result) == 2
    assert [found.name for found in result] == ["person", "car"]
    person = result[0]
    assert isinstance(person, segopt.Instance)
    assert repr(person) == "Instance(person 0.90, box 16, 16, 48, 80)"
    assert (result.masks.dtype, result.masks.shape) == (np.bool_, (2, 96, 128))
    np.testing.assert_array_equal(result.masks[0], person.mask)


def test_a_panoptic_result_has_length_segments_and_boxes(tmp_path):
    result = loaded(tmp_path)(BRIGHT)
    assert len(result) == 3
    assert [segment.name for segment in result] == ["person", "car", "sky"]
    assert isinstance(result[3], segopt.Segment)
    assert result[3].name == "sky"
    assert (result.boxes.dtype, result.boxes.shape) == (np.float32, (3, 4))
    assert result.boxes[2].tolist() == [0, 0, 128, 96]


@pytest.mark.usefixtures("video")
def test_the_example_of_the_readme_runs(tmp_path, capsys):
    (tmp_path / "engines").mkdir()
    tiny.panoptic_engine(tmp_path / "engines" / "panoptic.onnx")
    (tmp_path / "runs" / "demo" / "street" / "images").mkdir(parents=True)
    cv2.imwrite("runs/demo/street/images/000000.jpg", BRIGHT)
    shown = README.read_text(encoding="utf-8").split("\n## Python\n")[1].split("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", shown, re.DOTALL)
    # The page goes on with a video.
    longer = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert longer.startswith(example)
    example = longer
    exec(compile(example, str(README), "exec"), {})
    printed = capsys.readouterr().out
    assert "person True 0.89" in printed
    assert "PanopticResult(48x64: person, car" in printed
    assert "street-overlay.mp4" in printed
    assert cv2.imread("overlay.jpg").shape == BRIGHT.shape


def test_every_public_thing_says_what_it_is():
    for name in segopt.__all__:
        thing = getattr(segopt, name)
        if name not in ("__version__", "Result"):
            assert thing.__doc__, name
            assert not thing.__doc__.startswith(f"{name}("), name
