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
from processes import heed_signals
from segopt.model import sidecar

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_START_SECONDS = 30.0
_KILLED = 12
"""Videos and lists that a run leaves which is killed."""
_END_SECONDS = 20.0
"""A verb that takes longer after a signal hangs."""


def _nothing(_: Path) -> None:
    pass


@dataclass(frozen=True)
class Verb:
    """A command line, and what is done around it."""

    arguments: tuple[str, ...]
    seconds: float
    """About how long it takes, on a slow machine."""
    cases: int = 2
    """In the tests."""
    prepare: Callable[[Path], None] = _nothing
    """Gets a folder for what all cases use."""
    before: Callable[[Path], None] = _nothing
    """Gets the folder of a case."""
    after: Callable[[Path], None] = _nothing
    """Looks at that folder after the signal; raises a FaultError."""


_EXPORT = ("export", "--mode", "semantic", "--weights", "random", "--no-build")
_DATA = ("--data", "../good/data")
_ENGINE = ("--engine", "../good/engine.onnx")
_RECOVER = ("recover", "out")


def _long_video(good: Path) -> None:
    clips.clip(good / "long.mp4", 4_000)


def _annotated(good: Path) -> None:
    """Many pictures with index maps."""
    root = good / "data"
    for name in ("images", "semantic"):
        (root / name).mkdir(parents=True)
    for i in range(400):
        cv2.imwrite(str(root / "images" / f"{i}.png"), clips.frame(i))
        cv2.imwrite(str(root / "semantic" / f"{i}.png"), np.zeros((48, 64), np.uint8))
    (root / "classes.json").write_text('["dark", "bright"]')


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


def _check_recovered(case: Path) -> None:
    """The next attempt completes what the interrupted one did not, once each."""
    subprocess.run(
        [sys.executable, "-m", "segopt", *_RECOVER],
        cwd=case,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    names = sorted(path.name for path in (case / "out").iterdir())
    if names != sorted(f"{i}{suffix}" for i in range(_KILLED) for suffix in (".json", ".mp4")):
        raise FaultError(f"recovered {names}")


def _check_plans(case: Path) -> None:
    """A plan has its own sidecar, or neither has come."""
    out = case / "out"
    for plan in out.rglob("*.plan"):
        sidecar.read_plan(plan)
    for beside in out.rglob("*.plan.json"):
        if not beside.with_suffix("").exists():
            raise FaultError(f"{beside.name} without its plan")


VERBS = {
    "run": Verb(
        ("run", *_ENGINE, "../good/long.mp4", "--save", "overlay,coco,panoptic", "--output", "out"),
        seconds=6,
        cases=3,
        prepare=_long_video,
    ),
    "export": Verb(
        (*_EXPORT, "--network", "lraspp_mobilenet_v3_large", "--size", "64x64", "--output", "out/model.onnx"),
        seconds=20,
    ),
    "build": Verb(
        ("build", "../good/engine.onnx", "--runtime", "tensorrt-rtx", "--output", "out/model.plan"),
        seconds=10,
        after=_check_plans,
    ),
    "eval": Verb(("eval", *_ENGINE, *_DATA, "--json", "out/figures.json"), seconds=5, prepare=_annotated),
    "bench": Verb(("bench", *_ENGINE, "--json", "out/figures.json", "--report", "out/report"), seconds=10),
    "demo": Verb(("demo", "--output", "out/demo", "--seconds", "1"), seconds=40, cases=1),
    "recover": Verb(_RECOVER, seconds=1, before=_killed_run, after=_check_recovered),
}


def prepare(verb: Verb, good: Path) -> Callable[[Random, Path], Outcome]:
    """Start the verb, send it a signal, and look at how it ended."""
    tiny.panoptic_engine(good / "engine.onnx")
    verb.prepare(good)

    def attempt(chance: Random, case: Path) -> Outcome:
        verb.before(case)
        outcome = _interrupted(verb, chance, case)
        verb.after(case)
        return outcome

    return attempt


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
        preexec_fn=heed_signals,
    )
    _wait_for_main(process)
    try:
        _, stderr = process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        _, stderr = _end(process, number, f"{number.name} at {moment:.2f} s")
    _check_end(process.returncode, stderr, f"{number.name} at {moment:.2f} s", 128 + number)
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
