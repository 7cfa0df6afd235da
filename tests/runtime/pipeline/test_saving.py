"""segopt.run does what the command does."""

import json

import cv2
import numpy as np
import pytest

import clips
import segopt
import tiny
from segopt.errors import CardError, SourceBrokenError, SourceError, UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def engine(tmp_path):
    return tiny.panoptic_engine(tmp_path / "e.onnx", batch=2)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("save", ["overlay", "panoptic,coco", "overlay,panoptic,coco"])
def test_its_files_are_those_of_the_command_byte_for_byte(tmp_path, engine, segopt_cli, save):
    clips.clip(tmp_path / "drive.mp4", 12)
    options = ["--save", save, "--stride", 2, "--max-frames", 5, "--output", "command"]
    status, out, _ = segopt_cli("run", "drive.mp4", "--engine", engine, *options)
    assert status == 0
    with segopt.load(engine) as segmenter:
        stats = segopt.run(segmenter, "drive.mp4", save=save.split(","), output="function", stride=2, max_frames=5)
    assert contents(tmp_path / "command") == contents(tmp_path / "function") != {}
    assert stats.frames == 5
    for saved in stats.saved:
        assert f"{saved.what}: {saved.path} ({saved.frames} frames)".replace("function", "command") in out
    assert len(stats.saved) == len(save.split(","))


@pytest.mark.parametrize("save", [("overlay",), ["overlay"], "overlay", {"overlay"}])
def test_what_to_save_may_be_one_name_or_several(tmp_path, engine, save):
    clips.pictures(tmp_path, ["a.png"])
    (saved,) = segopt.run(engine, tmp_path / "a.png", save=save).saved
    assert saved.path.resolve() == tmp_path / "runs" / "a" / "a-overlay.png"
    assert (saved.what, saved.frames) == ("overlay", 1)
    assert cv2.imread(str(saved.path)).shape == (48, 64, 3)


def test_nothing_need_be_saved(tmp_path, engine):
    clips.pictures(tmp_path / "in", ["a.png", "b.png"])
    before = contents(tmp_path)
    stats = segopt.run(str(engine), str(tmp_path / "in"), save=())
    assert (stats.frames, stats.saved, stats.interrupted) == (2, (), False)
    assert contents(tmp_path) == before


def test_a_segmenter_stays_open_and_keeps_its_view(tmp_path, engine):
    clips.pictures(tmp_path, ["a.png"])
    segmenter = segopt.load(engine, mode="instance", score_threshold=0.2)
    segopt.run(segmenter, "a.png", save="coco", output="o")
    assert len(json.loads((tmp_path / "o" / "coco.json").read_text())) == 3
    assert len(segmenter(np.zeros((48, 64, 3), np.uint8))) == 3


def test_progress_and_files_are_told(tmp_path, engine):
    clips.clip(tmp_path / "drive.mp4", 9)
    counts, files = [], []
    stats = segopt.run(engine, "drive.mp4", on_progress=counts.append, on_saved=files.append)
    assert counts[-1] == 9
    assert tuple(files) == stats.saved


def test_what_was_kept_of_a_source_that_broke_off_is_told(tmp_path, engine):
    folder = clips.pictures(tmp_path / "in", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes(b"no picture")
    files = []
    with pytest.raises(SourceBrokenError):
        segopt.run(engine, folder, on_saved=files.append)
    assert [(saved.what, saved.frames) for saved in files] == [("overlay", 2)]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"source": "nowhere.mp4"}, SourceError, "nowhere.mp4: does not exist"),
        ({"source": [np.zeros((4, 4, 3), np.uint8)]}, UsageError, r"not list; .* segopt\.stream\("),
        ({"segmenter": "nowhere.onnx"}, CardError, "nowhere.onnx"),
        ({"save": "film"}, UsageError, "--save film: unknown"),
        ({"save": ("overlay", "film")}, UsageError, "--save film: unknown"),
        ({"batch": 3}, UsageError, "--batch 3: this model takes 1 to 2"),
        ({"batch": 0}, UsageError, "--batch 0"),
        ({"stride": 0}, UsageError, "--stride 0"),
        ({"max_frames": 0}, UsageError, "--max-frames 0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, engine, options, error, words):
    clips.pictures(tmp_path, ["a.png"])
    before = contents(tmp_path)
    with pytest.raises(error, match=words) as caught:
        segopt.run(**{"segmenter": engine, "source": "a.png", **options})
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before
    assert not (tmp_path / "runs").exists()
