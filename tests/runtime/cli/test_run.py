"""``segopt run`` as a person starts it: another process, its exit status, and what lies on the disk after it."""

import dataclasses
import json
import os
import pty
import signal
import subprocess
import sys
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest

import clips
import segopt
import tiny
from segopt.model.card import WeightsOrigin

COMMAND = [sys.executable, "-c", "from segopt.cli import main; main()", "run"]


def run(*arguments, cwd, **options):
    command = [*COMMAND, *(str(argument) for argument in arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **options)


def start(*arguments, cwd):
    command = [*COMMAND, *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def leftovers(folder):
    return list(folder.rglob("*.part"))


def assert_one_line_error(done, *words, status=1):
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("segopt: error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_video_in_a_video_and_json_out(tmp_path, panoptic_engine):
    clips.clip(tmp_path / "drive.mp4", 30)
    done = run("--engine", panoptic_engine, "drive.mp4", "--save", "overlay,panoptic,coco", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "runs" / "drive"
    video = clips.play(out / "drive-overlay.mp4")
    assert (video.frames, video.rate, video.index_first) == (30, Fraction(25, 2), True)
    assert len(json.loads((out / "panoptic.json").read_text())["annotations"]) == 30
    assert len(list((out / "panoptic").glob("*.png"))) == 30
    assert json.loads((out / "coco.json").read_text())
    assert "30 frames in" in done.stdout
    assert "runs/drive/drive-overlay.mp4 (30 frames)" in done.stdout
    assert leftovers(tmp_path) == []


def test_options_reach_their_places(tmp_path):
    engine = tiny.panoptic_engine(tmp_path / "e.onnx", batch=3)
    clips.clip(tmp_path / "drive.mp4", 30)
    arguments = ["--stride", 2, "--max-frames", 4, "--batch", 2, "--mode", "instance", "--score-threshold", 0.2]
    arguments += ["--threads", 1]
    done = run("--engine", engine, "drive.mp4", "--output", "o", "--save", "coco", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "o" / "coco.json").read_text())
    assert sorted({entry["image_id"] for entry in entries}) == [0, 2, 4, 6]
    assert len(entries) == 4 * 3


@pytest.mark.parametrize(("area", "stuff"), [(48 * 64 // 3, 1), (48 * 64, 0)])
def test_small_regions_of_stuff_are_left_out_on_request(tmp_path, panoptic_engine, area, stuff):
    cv2.imwrite(str(tmp_path / "white.png"), np.full((48, 64, 3), 255, np.uint8))
    done = run("--engine", panoptic_engine, "white.png", "--save", "panoptic", "--stuff-area", area, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (annotation,) = json.loads((tmp_path / "runs" / "white" / "panoptic.json").read_text())["annotations"]
    assert sum(s["category_id"] == tiny.SKY.id for s in annotation["segments_info"]) == stuff


def test_random_weights_are_announced(tmp_path):
    card = dataclasses.replace(
        segopt.read_card(tiny.semantic_engine(tmp_path / "e.onnx")),
        weights={"semantic": WeightsOrigin("random (seed 0)", "0" * 64)},
    )
    tiny.save(tmp_path / "random.onnx", card, *tiny._semantic(card.canvas, card.batch))
    cv2.imwrite(str(tmp_path / "white.png"), np.full((48, 64, 3), 255, np.uint8))
    done = run("--engine", "random.onnx", "white.png", cwd=tmp_path)
    assert "RANDOM weights" in done.stdout


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_keep_what_was_done(tmp_path, stop):
    engine = tiny.panoptic_engine(tmp_path / "e.onnx")
    clips.clip(tmp_path / "long.mp4", 4_000)
    process = start("--engine", engine, "long.mp4", "--save", "overlay,coco,panoptic", cwd=tmp_path)
    out = tmp_path / "runs" / "long"
    deadline = time.monotonic() + 30
    while len(list(out.glob("panoptic/*.png"))) < 30:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(stop)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 128 + stop
    assert "Traceback" not in stderr
    assert "interrupted" in stdout
    frames = clips.play(out / "long-overlay.mp4").frames
    assert 30 <= frames < 4_000
    document = json.loads((out / "panoptic.json").read_text())
    assert len(document["annotations"]) == len(document["images"]) == frames
    assert f"long-overlay.mp4 ({frames} frames)" in stdout
    assert json.loads((out / "coco.json").read_text())[-1]["image_id"] == frames - 1
    assert leftovers(tmp_path) == []


def test_a_broken_video_keeps_what_came_before_and_fails(tmp_path, panoptic_engine):
    path = clips.clip(tmp_path / "cut.mp4", 40, noise=True, options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run("--engine", panoptic_engine, path, cwd=tmp_path)
    assert_one_line_error(done, str(path), "breaks off after")
    frames = clips.play(tmp_path / "runs" / "cut" / "cut-overlay.mp4").frames
    assert f"breaks off after {frames} frames" in done.stderr
    assert f"({frames} frames)" in done.stdout


def test_a_folder_with_a_bad_picture_does_the_others_and_fails(tmp_path, semantic_engine):
    folder = clips.pictures(tmp_path / "in", ["1.jpg", "2.jpg", "3.jpg"])
    (folder / "2.jpg").write_bytes(b"no picture")
    done = run("--engine", semantic_engine, folder, cwd=tmp_path)
    assert_one_line_error(done, "2.jpg", "1 of 3 pictures")
    assert sorted(path.name for path in (tmp_path / "runs" / "in" / "overlay").iterdir()) == ["1.jpg", "3.jpg"]


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["nowhere.mp4"], ["nowhere.mp4", "does not exist"], 1),
        (["text.mp4"], ["text.mp4", "is not a video"], 1),
        (["empty.jpg"], ["empty.jpg", "is empty"], 1),
        (["a.png", "--output", "text.mp4"], ["text.mp4", "--output"], 1),
        (["a.png", "--save", "panoptic"], ["--save panoptic", "overlay, coco"], 2),
        (["a.png", "--save", "film"], ["--save film"], 2),
        (["a.png", "--save", "none"], ["--save none", "--show"], 2),
        (["a.png", "--batch", "2"], ["--batch 2"], 2),
        (["a.png", "--stride", "0"], ["--stride 0"], 2),
        (["a.png", "--threads", "0"], ["threads is 0"], 2),
        (["a.png", "--engine", "text.mp4"], ["text.mp4"], 1),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, semantic_engine, arguments, words, status):
    clips.pictures(tmp_path, ["a.png"])
    (tmp_path / "text.mp4").write_text("words " * 500)
    (tmp_path / "empty.jpg").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    engine = [] if "--engine" in arguments else ["--engine", semantic_engine]
    assert_one_line_error(run(*engine, *arguments, cwd=tmp_path), *words, status=status)
    assert sorted(tmp_path.rglob("*")) == before


def test_show_without_windows_or_a_display_says_which_it_is(tmp_path, semantic_engine):
    clips.pictures(tmp_path, ["a.png"])
    without = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = run("--engine", semantic_engine, "a.png", "--show", cwd=tmp_path, env=without)
    gui = next(line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:"))
    words = ("pip install opencv-python", "libgl1") if "NONE" in gui else ("no display", "DISPLAY")
    assert_one_line_error(done, "--show", *words, status=2)


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("3", "3")])
def test_a_run_leaves_the_cores_to_the_network_unless_told_otherwise(tmp_path, given, used):
    code = """
import os, sys
from segopt.cli import main
sys.argv = ["segopt", "run", "nothing.mp4", "--engine", "nothing.onnx"]
try:
    main()
except SystemExit:
    print("numpy" in sys.modules, os.environ["OPENBLAS_NUM_THREADS"])
"""
    own = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    own |= {} if given is None else {"OPENBLAS_NUM_THREADS": given}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", used]


def test_a_terminal_gets_a_progress_bar(tmp_path, semantic_engine):
    clips.clip(tmp_path / "drive.mp4", 30)
    controller, terminal = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "--engine", str(semantic_engine), "drive.mp4"],
        cwd=tmp_path,
        stderr=terminal,
        timeout=60,
        check=True,
    )
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    assert done.returncode == 0
    assert "30/30" in shown
    assert "fps" in shown
