"""Files are found by the names that they have, whatever else such a name could mean, and all are written down."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import clips
import tiny

RUN = [sys.executable, "-m", "segopt", "run", "--engine", "engine.onnx", "--output", "out"]


@pytest.fixture
def folder(tmp_path):
    tiny.panoptic_engine(tmp_path / "engine.onnx")
    return tmp_path


def run(folder, *arguments):
    return subprocess.run(
        [*RUN, *arguments], cwd=folder, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["~tmp.png", "a ! b.jpg", "-.png", "2024-01-01T12:30:05.mp4", "concat:a|b.mp4", "http:.mp4", "a*b[1].jpg"],
)
def test_a_file_is_opened_whatever_its_name_looks_like(folder, name):
    if name.endswith(".mp4"):
        clips.clip(folder / "plain.mp4", 3)
        shutil.copy(folder / "plain.mp4", folder / name)
    else:
        cv2.imwrite(str(folder / f"plain{Path(name).suffix}"), np.full((48, 64, 3), 99, np.uint8))
        (folder / f"plain{Path(name).suffix}").rename(folder / name)
    done = run(folder, "--", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "overlay: out/" in done.stdout


def test_names_that_are_no_text_are_written_down_and_stay_apart(folder):
    (folder / "pictures").mkdir()
    data = cv2.imencode(".png", np.full((48, 64, 3), 99, np.uint8))[1].tobytes()
    names = [b"a.png", b"b-\xfc.png", b"c.png"]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(folder / "pictures"), name))).write_bytes(data)  # noqa: PTH118
    done = run(folder, "--save", "panoptic,coco,overlay", "pictures")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads((folder / "out" / "panoptic.json").read_text(encoding="utf-8"))
    assert [os.fsencode(image["file_name"]) for image in document["images"]] == names
    assert len(list((folder / "out" / "panoptic").iterdir())) == 3


@pytest.mark.parametrize("name", ["pipe.mp4", "pipe.jpg", "pipe"])
def test_a_pipe_is_refused_at_once(folder, name):
    os.mkfifo(folder / name)
    done = run(folder, name)
    assert done.returncode == 1
    assert f"{name}: is a pipe" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["~nobody-of-this-name.png", "x" * 300 + ".mp4"])
def test_a_name_that_cannot_be_is_one_line(folder, name):
    done = run(folder, name)
    assert done.returncode == 1
    assert done.stderr.startswith(f"segopt: error: {name}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--stride", "--max-frames"])
@pytest.mark.parametrize("number", ["0", "-3", "99999999999", "1" + "0" * 30])
def test_a_number_out_of_all_bounds_is_one_line(folder, option, number):
    clips.clip(folder / "a.mp4", 3)
    done = run(folder, "a.mp4", option, number)
    assert done.returncode == 2
    assert done.stderr == f"segopt: error: {option} {number[:20]}: must be from 1 to 2147483647\n"


def test_an_output_that_is_full_is_one_line(folder):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "segopt", "info", "engine.onnx"],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
