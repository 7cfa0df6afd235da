"""Folders without permission, closed standard streams and little memory: one line each, and whole files."""

import os
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

import clips
import tiny

SEGOPT = [sys.executable, "-m", "segopt"]
RUN = [*SEGOPT, "run", "--engine", "e.onnx", "--output", "out", "a.mp4"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="POSIX shells and permissions")


@pytest.fixture
def place(tmp_path):
    """A folder with an engine and a video of five frames."""
    tiny.panoptic_engine(tmp_path / "e.onnx")
    clips.clip(tmp_path / "a.mp4", 5)
    return tmp_path


def without_privileges(command):
    """For root, to whom every folder is open."""
    if os.geteuid() != 0:
        return command
    if shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv to give its privileges up")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "out", "shut"], "shut: cannot be listed"),
        (["--output", "out", "shut/a.png"], "shut/a.png: cannot be read"),
        (["--output", "out", "unreadable.png"], "unreadable.png: cannot be read"),
        (["--output", "shut/out", "a.mp4"], "shut/out:"),
        (["--output", "frozen", "a.mp4"], "frozen: cannot be written"),
    ],
)
def test_what_may_not_be_read_or_written_is_one_line(place, options, words):
    picture = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    for name, mode in (("shut", 0o000), ("frozen", 0o555)):
        (place / name).mkdir()
        (place / name / "a.png").write_bytes(picture)
        (place / name).chmod(mode)
    (place / "unreadable.png").write_bytes(picture)
    (place / "unreadable.png").chmod(0)
    command = without_privileges([*SEGOPT, "run", "--engine", "e.onnx", *options])
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"segopt: error: {words} \(?Permission denied\)?; .*\n", done.stderr), done.stderr
    assert not (place / "out").exists()


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", f"{LONG}.onnx"],
        ["run", "a.mp4", "--engine", "e.onnx", "--output", LONG],
        ["build", "e.onnx", "--output", f"{LONG}.plan"],
        ["eval", "--engine", "e.onnx", "--data", LONG],
        ["bench", "--engine", "e.onnx", "--json", LONG],
        ["recover", LONG],
        ["demo", "--output", LONG],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_name_that_is_too_long_is_one_line_of_every_verb(place, segopt_cli, monkeypatch, arguments):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    status, _, err = segopt_cli(*arguments)
    assert status == 1
    assert re.fullmatch(rf"segopt: error: .*{LONG}.*File name too long.*\n", err)
    assert "SEGOPT_DEBUG" not in err
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_cost_nothing(place, closed):
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *RUN], cwd=place, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert clips.play(place / "out" / "a-overlay.mp4").frames == 5
    assert len(list((place / "out").iterdir())) == 1


@pytest.mark.parametrize("kilobytes", [250_000, 450_000, 700_000, 800_000])
def test_little_memory_is_one_line(place, kilobytes):
    done = subprocess.run(
        ["sh", "-c", f'ulimit -v {kilobytes}; exec "$@"', "sh", *RUN],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode == 0:
        pytest.skip("this machine needs less")
    assert done.returncode == 1
    assert re.fullmatch(r"segopt: error: .*\n", done.stderr), done.stderr
    assert [path for path in place.rglob("*") if path.name.startswith(".")] == []
