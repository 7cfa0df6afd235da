"""The examples run, those that can here."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import clips
import tiny

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    tiny.panoptic_engine(folder / "e.onnx")
    clips.clip(folder / "drive.mp4", 8)
    return folder


def run(street, name, *arguments):
    command = [sys.executable, EXAMPLES / name, "e.onnx", "drive.mp4", *map(str, arguments)]
    done = subprocess.run(command, cwd=street, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_that_stands_crosses_a_line(street):
    assert run(street, "count_over_line.py", "--line", 0, 24, 64, 24) == ""


def test_objects_in_a_zone_are_counted(street):
    pytest.importorskip("supervision")
    lines = run(street, "zones.py", "--zone", 0, 0, 30, 0, 30, 47, 0, 47).splitlines()
    assert lines[-1] == "frame 7: 1 in the zone, 1 so far"


def test_lines_go_through_a_pipe_one_message_each(street, tmp_path):
    # Stands for mosquitto_pub -l, which sends each line of its input.
    sender = tmp_path / "mosquitto_pub"
    sender.write_text('#!/bin/sh\nwhile read -r line; do printf "%s\\n" "$line" >> sent; done\n')
    sender.chmod(sender.stat().st_mode | stat.S_IXUSR)
    segopt = f"{sys.executable} -c 'from segopt.cli import main; main()'"
    command = f"{segopt} run --engine e.onnx drive.mp4 --track --save none --jsonl - | mosquitto_pub -t street -l"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(
        ["/bin/sh", "-c", command], cwd=street, env=environment, timeout=60, check=True, capture_output=True
    )
    assert (street / "sent").read_text().count('"track": 201') == 8


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_is_python_of_less_than_60_lines(path):
    text = path.read_text(encoding="utf-8")
    compile(text, path, "exec")
    assert len(text.splitlines()) < 60


def test_every_example_is_named_on_their_page():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f"({path.name})" not in page] == []
