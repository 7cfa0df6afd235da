"""SIGINT, SIGTERM and SIGHUP at a random moment of every verb that takes time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random

import cv2
import numpy as np

import clips
import tiny
from fuzzing.attempts import FaultError, Outcome
from segopt.model import sidecar

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_START_SECONDS = 30.0
_KILLED = 30
"""Videos and lists that a run leaves which is killed."""
_END_SECONDS = 20.0
"""A verb that takes longer after a signal hangs."""


@dataclass(frozen=True)
class Verb:
    """A command line, and how long it takes."""

    arguments: tuple[str, ...]
    seconds: float
    """About how long it takes, on a slow machine."""
    cases: int = 2
    """In the tests."""


def _killed_run(folder: Path) -> None:
    """What a run that was killed leaves: many videos and lists that can be completed."""
    from segopt.sinks.json_list import JsonStream
    from segopt.sinks.mp4 import VideoWriter

    code = os.fork()
    if code:
        os.waitpid(code, 0)
        return
    kept = []
    for i in range(_KILLED):
        video = VideoWriter(folder / "out" / f"{i}.mp4", rate=Fraction(25))
        for k in range(60):
            video.write(clips.frame(k))
        stream = JsonStream(folder / "out" / f"{i}.json")
        stream.extend([{"a": k} for k in range(1000)])
        kept += [video, stream]
    os._exit(0)


_EXPORT = ("export", "--mode", "semantic", "--weights", "random", "--no-build")
_DATA = ("--data", "../good/data")
_ENGINE = ("--engine", "../good/engine.onnx")

VERBS = {
    "run": Verb(("run", *_ENGINE, "../good/long.mp4", "--save", "overlay,coco,panoptic", "--output", "out"), 6, 6),
    "export": Verb(
        (*_EXPORT, "--network", "lraspp_mobilenet_v3_large", "--size", "64x64", "--output", "out/model.onnx"),
        20,
        4,
    ),
    "build": Verb(
        ("build", "../good/engine.onnx", "--runtime", "tensorrt-rtx", "--output", "out/model.plan"), 10, 4
    ),
    "eval": Verb(("eval", *_ENGINE, *_DATA, "--json", "out/figures.json"), 5, 4),
    "bench": Verb(("bench", *_ENGINE, "--json", "out/figures.json", "--report", "out/report"), 10, 4),
    "demo": Verb(("demo", "--output", "out/demo", "--seconds", "1"), 40, 2),
    "recover": Verb(("recover", "out"), 2, 4),
}


def prepare(verb: str, good: Path) -> Callable[[Random, Path], Outcome]:
    """Start the verb, send it a signal, and look at how it ended."""
    tiny.panoptic_engine(good / "engine.onnx")
    if verb == "run":
        clips.clip(good / "long.mp4", 4_000)
    if verb == "eval":
        _data(good / "data")

    def attempt(chance: Random, case: Path) -> Outcome:
        if verb != "recover":
            return _interrupted(VERBS[verb], chance, case)
        _killed_run(case)
        outcome = _interrupted(VERBS[verb], chance, case)
        _check_recovered(case)
        return outcome

    return attempt


def _check_recovered(case: Path) -> None:
    """The next attempt completes what the interrupted one did not, once each."""
    subprocess.run(
        [sys.executable, "-m", "segopt", *VERBS["recover"].arguments],
        cwd=case,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    names = sorted(path.name for path in (case / "out").iterdir())
    if names != sorted(f"{i}{suffix}" for i in range(_KILLED) for suffix in (".json", ".mp4")):
        raise FaultError(f"recovered {names}")


def _data(root: Path) -> None:
    """Many pictures with index maps."""
    for name in ("images", "semantic"):
        (root / name).mkdir(parents=True)
    for i in range(400):
        cv2.imwrite(str(root / "images" / f"{i}.png"), clips.frame(i))
        cv2.imwrite(str(root / "semantic" / f"{i}.png"), np.zeros((48, 64), np.uint8))
    (root / "classes.json").write_text('["dark", "bright"]')


def _interrupted(verb: Verb, chance: Random, case: Path) -> Outcome:
    number = chance.choice(_SIGNALS)
    moment = chance.uniform(0, verb.seconds)
    process = subprocess.Popen(
        [sys.executable, "-m", "segopt", *verb.arguments],
        cwd=case,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for_main(process)
    try:
        _, stderr = process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        _, stderr = _end(process, number, f"{number.name} at {moment:.2f} s")
    _check_end(process.returncode, stderr, f"{number.name} at {moment:.2f} s", 128 + number)
    _check_pairs(case / "out")
    return "right" if process.returncode == 0 else "refused"


def _end(process: subprocess.Popen[str], number: signal.Signals, when: str) -> tuple[str, str]:
    """Wait for it. The first signal waits for the end of an import, which takes long on a busy machine."""
    for _ in range(2):
        try:
            return process.communicate(timeout=_END_SECONDS / 2)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
    process.kill()
    process.communicate()
    raise FaultError(f"hangs after {when}")


def _check_end(status: int, stderr: str, when: str, expected: int) -> None:
    if status not in (0, expected):
        raise FaultError(f"{when}: status {status}: {stderr[-800:]!r}")
    lines = [line for line in stderr.splitlines() if not line.startswith("done ")]
    # `run` says it on stdout, with what was done.
    if lines not in ([], ["segopt: interrupted"]) or (lines and status == 0):
        raise FaultError(f"{when}: status {status}, said {lines[:10]!r}")


def _check_pairs(out: Path) -> None:
    """A plan has its own sidecar, or neither has come."""
    for plan in out.rglob("*.plan"):
        sidecar.read_plan(plan)
    for beside in out.rglob("*.plan.json"):
        if not beside.with_suffix("").exists():
            raise FaultError(f"{beside.name} without its plan")


def _wait_for_main(process: subprocess.Popen[str]) -> None:
    """Until the command has taken its signals: before, it is Python's start that they meet."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        except OSError:
            return
        if caught is not None and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)
