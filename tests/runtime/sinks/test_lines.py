"""JSON lines, KITTI-STEP and YouTube-VIS: what other programs read."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

import clips
import segopt
import tiny
from segopt.coco.rle import decode_rle
from segopt.errors import SinkError
from segopt.sinks.step import step_picture

COMMAND = [sys.executable, "-c", "from segopt.cli import main; main()", "run", "--engine"]
FIELDS = ["id", "track", "category_id", "name", "isthing", "score", "area", "bbox", "age"]


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    return clips.clip(tmp_path_factory.mktemp("drive") / "drive.mp4", 6)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return tiny.panoptic_engine(tmp_path_factory.mktemp("engine") / "e.onnx")


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_says_all_of_a_frame(tmp_path, drive, engine):
    segopt.run(engine, drive, save="jsonl,rle,panoptic", output=tmp_path, track=True)
    records = lines((tmp_path / "segments.jsonl").read_text())
    assert [record["frame"] for record in records] == list(range(6))
    assert records[5]["time"] == pytest.approx(5 / 12.5)
    assert {(r["source"], r["width"], r["height"], r["converged"]) for r in records} == {("drive", 64, 48, True)}
    person, car, sky = records[5]["segments"]
    assert list(person) == [*FIELDS, "rle"]
    assert (person["name"], person["track"], person["id"], person["isthing"]) == ("person", 201, 201, True)
    assert (person["bbox"], person["age"]) == ([8, 7, 16, 34], 0.4)
    assert (sky["track"], sky["id"], sky["age"], sky["isthing"]) == (None, 200, None, False)
    for segment in (person, car, sky):
        assert decode_rle(segment["rle"]).sum() == segment["area"]


@pytest.mark.parametrize("mode", ["instance", "semantic"])
def test_every_mode_has_lines(tmp_path, drive, engine, mode):
    with segopt.load(engine, mode=mode) as segmenter:
        segopt.run(segmenter, drive, save="jsonl,rle", output=tmp_path, max_frames=1)
    (record,) = lines((tmp_path / "segments.jsonl").read_text())
    for segment in record["segments"]:
        assert list(segment) == [*FIELDS, "rle"]
        assert segment["track"] is None
        assert decode_rle(segment["rle"]).sum() == segment["area"]
    wanted = {"instance": ["person", "car"], "semantic": ["dark", "bright"]}[mode]
    assert [segment["name"] for segment in record["segments"]] == wanted


def test_standard_output_has_lines_alone(tmp_path, drive, engine):
    command = [*COMMAND, str(engine), str(drive), "--jsonl", "-", "--save", "coco", "--output", "o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert [record["frame"] for record in lines(done.stdout)] == list(range(6))
    assert "6 frames in" in done.stderr
    assert "o/coco.json (6 frames)" in done.stderr


def test_a_reader_that_ends_ends_the_run_in_one_line(tmp_path, engine):
    clips.clip(tmp_path / "long.mp4", 2_000)
    command = [*COMMAND, str(engine), "long.mp4", "--jsonl", "-", "--save", "none"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.wait(timeout=30) == 1
    assert process.stderr.read().splitlines()[-1].startswith("segopt: error: --jsonl -: the program that reads")
    process.stderr.close()


def test_every_line_parses_after_a_kill(tmp_path, engine):
    clips.clip(tmp_path / "long.mp4", 2_000)
    process = subprocess.Popen([*COMMAND, str(engine), "long.mp4", "--save", "jsonl"], cwd=tmp_path)
    path = tmp_path / "runs" / "long" / "segments.jsonl"
    deadline = time.monotonic() + 30
    while not (path.exists() and path.stat().st_size > 20_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    records = lines(path.read_text())
    assert [record["frame"] for record in records] == list(range(len(records)))


def test_step_pngs_hold_class_and_track(tmp_path, drive, engine):
    segopt.run(engine, drive, save="step,panoptic", output=tmp_path, track=True)
    names = sorted(path.name for path in (tmp_path / "step").iterdir())
    assert names == [f"{i:06d}.png" for i in range(6)]
    blue, green, red = np.moveaxis(cv2.imread(str(tmp_path / "step" / "000003.png")).astype(int), 2, 0)
    found = {(int(c), int(g) * 256 + int(b)) for c, g, b in zip(red.flat, green.flat, blue.flat, strict=True)}
    assert found == {(1, 201), (3, 202), (200, 0), (255, 0)}


def test_step_refuses_what_does_not_fit():
    segment_map = np.full((2, 2), 70_000, np.int32)
    big = segopt.Segment(70_000, 300, True, 1.0, 4)
    with pytest.raises(SinkError, match="category 300"):
        step_picture(segopt.PanopticResult(segment_map, (big,), ()))


def test_youtube_vis_has_a_mask_or_null_for_each_frame(tmp_path, drive, engine):
    with segopt.load(engine, mode="instance") as segmenter:
        segopt.run(segmenter, drive, save="ytvis", output=tmp_path, track=True)
    objects = json.loads((tmp_path / "ytvis.json").read_text())
    assert [(one["category_id"], len(one["segmentations"])) for one in objects] == [(1, 6), (3, 6)]
    assert decode_rle(objects[0]["segmentations"][5]).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--save", "step"], "--save step: holds objects that last over the frames; add --track"),
        (["--save", "ytvis"], "add --track"),
        (["--save", "rle"], "write --save jsonl,rle"),
        (["--jsonl", "x.jsonl"], "for a file add jsonl to --save"),
        (["--save", "step", "--mode", "semantic"], "semantic results have no such form"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(tmp_path, drive, engine, segopt_cli, arguments, words):
    status, _, err = segopt_cli("run", "--engine", engine, drive, "--output", tmp_path / "o", *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert words in err
    assert not (tmp_path / "o").exists()


def test_lines_of_an_earlier_run_are_not_replaced(tmp_path, drive, engine):
    segopt.run(engine, drive, save="jsonl", output=tmp_path)
    before = (tmp_path / "segments.jsonl").read_bytes()
    with pytest.raises(SinkError, match="exists already"):
        segopt.run(engine, drive, save="jsonl", output=tmp_path)
    assert (tmp_path / "segments.jsonl").read_bytes() == before
    segopt.run(engine, drive, save="jsonl", output=tmp_path, overwrite=True, max_frames=2)
    assert len((tmp_path / "segments.jsonl").read_text().splitlines()) == 2
