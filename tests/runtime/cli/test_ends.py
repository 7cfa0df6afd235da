"""How ``segopt run`` ends when it does not end by itself: signals at any moment, SIGKILL, a network that hangs."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import clips
import tiny
from processes import heed_signals

SEGOPT = [sys.executable, "-m", "segopt"]
ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SLOW = """
import ctypes, sys, time
from segopt.backends.onnxruntime import OnnxRuntimeBackend
infer, calls = OnnxRuntimeBackend.infer, []
def slow(self, inputs):
    calls.append(1)
    if len(calls) > {hangs_after}:
        ctypes.CDLL(None).pause()
    time.sleep(0.005)
    return infer(self, inputs)
OnnxRuntimeBackend.infer = slow
from segopt.__main__ import main
main()
"""
"""The command with a network of 5 ms, which does not come back from its call after some."""

STARTED: list[subprocess.Popen] = []

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")]


def start(*arguments, cwd, hangs_after=None):
    command = SEGOPT if hangs_after is None else [sys.executable, "-c", SLOW.format(hangs_after=hangs_after)]
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def _nothing_goes_on():
    """What a failed test leaves would run for ever."""
    yield
    while STARTED:
        STARTED.pop().kill()


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_main(process):
    """Until the command has taken its signals: before, it is Python's start that they meet."""

    def caught():
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1

    wait_until(caught)


def pngs(folder):
    return len(list(folder.glob("panoptic/*.png")))


def hidden(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    tiny.panoptic_engine(folder / "e.onnx")
    clips.clip(folder / "long.mp4", 4_000)
    return folder


@pytest.fixture
def place(tmp_path, made):
    """A folder with an engine and a video of 4000 frames."""
    for file in made.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


RUN = ["run", "--engine", "e.onnx", "long.mp4", "--save", "overlay,coco,panoptic", "--output", "out"]


def assert_in_order(process, folder, stop):
    """It ended by that signal, said so in one line, and left nothing that is not whole."""
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + stop, stderr
    assert "interrupted" in stdout + stderr
    assert stderr in ("", "segopt: interrupted\n")
    assert hidden(folder) == []
    out = folder / "out"
    if (out / "panoptic.json").exists():
        document = json.loads((out / "panoptic.json").read_text())
        frames = clips.play(out / "long-overlay.mp4").frames
        assert len(document["annotations"]) == len(document["images"]) == frames == pngs(out)
        json.loads((out / "coco.json").read_text())


@pytest.mark.parametrize("seed", range(9))
def test_a_signal_at_any_moment_ends_a_run_in_order(place, seed):
    moment = random.Random(seed).uniform(0, 2.5)
    process = start(*RUN, cwd=place)
    wait_for_main(process)
    time.sleep(moment)
    stop = ENDS[seed % len(ENDS)]
    process.send_signal(stop)
    assert_in_order(process, place, stop)


@pytest.mark.parametrize("verb", ["run", "info", "build", "eval", "bench", "doctor", "demo", "export", "recover"])
def test_ctrl_c_during_start_up_is_one_line(place, verb):
    arguments = {"run": RUN[1:], "info": ["e.onnx"], "export": ["--mode", "semantic", "--weights", "random"]}
    others = {"build": ["e.onnx"], "eval": ["--engine", "e.onnx", "--data", "."], "bench": ["--engine", "e.onnx"]}
    process = start(verb, *{**arguments, **others, "recover": ["."]}.get(verb, []), cwd=place)
    wait_for_main(process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    *steps, last = stderr.splitlines() or [""]
    # A run that had begun says it with its figures.
    last = last or stdout
    # On a fast machine a step, or a verb that has little to do, may have ended by then.
    ended = {"eval": (1, "error: "), "recover": (0, ""), "info": (0, ""), "doctor": (0, "")}
    status, words = ended.get(verb, (130, "interrupted"))
    assert process.returncode in (130, status), stdout + stderr
    assert ("interrupted" if process.returncode == 130 else words) in last
    assert [line for line in steps if not line.startswith("done ")] == []
    assert hidden(place) == []


@pytest.mark.parametrize("seed", range(3))
def test_after_kill_9_recover_brings_back_what_was_done(place, seed):
    out = place / "out"
    process = start(*RUN, cwd=place)
    wait_until(lambda: pngs(out) > 100)
    time.sleep(random.Random(seed).uniform(0, 1))
    process.kill()
    process.communicate()
    done = pngs(out)
    recovered = subprocess.run([*SEGOPT, "recover", "."], cwd=place, capture_output=True, text=True, check=True)
    video = clips.play(out / "long-overlay.mp4")
    document = json.loads((out / "panoptic.json").read_text())
    assert f"recovered: out/long-overlay.mp4 ({video.frames} frames)" in recovered.stdout
    assert done - 1 <= len(document["annotations"]) == len(document["images"]) <= done
    assert json.loads((out / "coco.json").read_text())[-1]["image_id"] >= done - 2
    # What the encoder holds, and the second that is not on the disk yet.
    assert video.frames >= done - 80
    assert hidden(place) == []


def test_the_next_run_after_kill_9_completes_first(place):
    process = start(*RUN, cwd=place)
    wait_until(lambda: pngs(place / "out") > 100)
    process.kill()
    process.communicate()
    again = subprocess.run([*SEGOPT, *RUN], cwd=place, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert re.fullmatch(r"segopt: error: out/.*: exists already; .*--overwrite.*\n", again.stderr)
    assert "recovered from a run that was killed: out/long-overlay.mp4" in again.stdout
    assert clips.play(place / "out" / "long-overlay.mp4").frames > 20
    assert hidden(place) == []


def test_two_runs_in_one_folder_are_one_run_and_a_line(place):
    first = start(*RUN, cwd=place)
    wait_until(lambda: pngs(place / "out") > 10)
    second = subprocess.run([*SEGOPT, *RUN, "--overwrite"], cwd=place, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert re.fullmatch(
        rf"segopt: error: out: another run writes to it \(process {first.pid} on .*, since .*\); .*\n",
        second.stderr,
    )
    first.send_signal(signal.SIGTERM)
    assert_in_order(first, place, signal.SIGTERM)


@pytest.mark.parametrize("stop", ENDS)
def test_one_signal_ends_a_run_whose_network_hangs(place, stop):
    process = start(*RUN, cwd=place, hangs_after=20)
    wait_until(lambda: pngs(place / "out") == 20)
    time.sleep(0.3)
    begun = time.monotonic()
    process.send_signal(stop)
    _, stderr = process.communicate(timeout=20)
    assert time.monotonic() - begun < 10
    assert process.returncode == 128 + stop
    assert stderr == "segopt: the network did not come back; what was done before it is kept\n"
    assert clips.play(place / "out" / "long-overlay.mp4").frames == 20
    assert len(json.loads((place / "out" / "panoptic.json").read_text())["annotations"]) == 20
    assert hidden(place) == []


def test_a_network_that_hangs_at_its_first_frame_ends_too(place):
    process = start(*RUN, cwd=place, hangs_after=0)
    wait_until(lambda: (place / "out" / "panoptic").exists())
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert hidden(place) == []


def test_an_ignored_hang_up_stays_ignored(place):
    # As nohup has it.
    command = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *SEGOPT, *RUN, "--max-frames", "300"]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: pngs(place / "out") > 10)
    process.send_signal(signal.SIGHUP)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert clips.play(place / "out" / "long-overlay.mp4").frames == 300


def test_a_terminal_that_hangs_up_costs_nothing(place):
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        [*SEGOPT, *RUN], cwd=place, stdout=terminal, stderr=terminal, preexec_fn=heed_signals
    )
    os.close(terminal)
    wait_until(lambda: pngs(place / "out") > 10)
    os.close(controller)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 128 + signal.SIGHUP
    frames = clips.play(place / "out" / "long-overlay.mp4").frames
    assert frames == pngs(place / "out")
    assert hidden(place) == []


def test_planted_links_are_not_followed(place):
    victim = place / "victim"
    victim.write_bytes(b"precious")
    out = place / "out"
    out.mkdir()
    for name in ("long-overlay.mp4", "coco.json", "panoptic.json", ".segopt.lock"):
        link = out / name
        link.symlink_to(victim)
        done = subprocess.run(
            [*SEGOPT, *RUN, "--max-frames", "3"], cwd=place, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert name in done.stderr
        assert victim.read_bytes() == b"precious"
        link.unlink()
