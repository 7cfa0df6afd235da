"""Watches workers: what crashes, hangs or takes too much memory is ended, kept and counted."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzzing.classes import CLASSES

MOST_MEMORY = 2048
"""MiB."""
_START_SECONDS = 120.0
_LOOK_SECONDS = 0.1
_TESTS = Path(__file__).parents[1]


@dataclass
class Tally:
    """What came of the cases of a class."""

    name: str
    seed: str
    cases: int = 0
    right: int = 0
    refused: int = 0
    slowest: float = 0.0
    """Seconds."""
    peak: int = 0
    """MiB."""
    faults: list[str] = field(default_factory=list)

    def add(self, ended: dict[str, Any]) -> None:
        """Count a case that ended by itself."""
        self.cases += 1
        self.slowest, self.peak = max(self.slowest, ended["seconds"]), max(self.peak, ended["peak"])
        self.right += ended.get("outcome") == "right"
        self.refused += ended.get("outcome") == "refused"


def run_class(name: str, seed: str, goes_on: Callable[[Tally], bool], keep: Path) -> Tally:
    """Run cases of a class from number 0 on.

    Args:
        name: of the class, in :data:`fuzzing.classes.CLASSES`.
        seed: any text; the same one makes the same cases.
        goes_on: asked after each case whether there is to be another.
        keep: folder that gets a folder for each case that failed, with its input and what was written.
    """
    tally = Tally(name, seed)
    while tally.cases == 0 or goes_on(tally):
        with tempfile.TemporaryDirectory(prefix="segopt-fuzz-") as folder:
            fault = _run_worker(tally, tally.cases, goes_on, Path(folder))
            if fault is None:
                break
            kept = keep / f"{name.replace(' ', '-')}-{seed}-{tally.cases - 1}"
            shutil.rmtree(kept, ignore_errors=True)
            if (Path(folder) / "case").exists():
                shutil.copytree(Path(folder) / "case", kept, symlinks=True, ignore=_special)
            tally.faults.append(f"{name}, seed {seed}, case {tally.cases - 1}: {fault} (kept in {kept})")
    return tally


def _special(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (path := Path(folder) / name).is_file() and not path.is_dir()]


def _run_worker(tally: Tally, first: int, goes_on: Callable[[Tally], bool], folder: Path) -> str | None:
    """Let a worker run cases until one fails (then what happened) or there are enough."""
    with _worker(tally, first, folder) as (process, lines):
        limit = CLASSES[tally.name].seconds
        while True:
            begins = _next(process, lines, _START_SECONDS)
            if isinstance(begins, str):
                raise RuntimeError(f"{tally.name}: {begins} before a case: {(folder / 'worker.txt').read_text()}")
            ended = _next(process, lines, limit)
            if isinstance(ended, str):
                tally.cases += 1
                return ended
            tally.add(ended)
            if ended["peak"] > MOST_MEMORY:
                return f"took {ended['peak']} MiB"
            if "fault" in ended:
                return str(ended["fault"])
            if not goes_on(tally):
                return None


@contextlib.contextmanager
def _worker(
    tally: Tally, first: int, folder: Path
) -> Iterator[tuple[subprocess.Popen[str], queue.Queue[str | None]]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment["PYTHONPATH"] = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (folder / "worker.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.worker", tally.name, tally.seed, str(first), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            start_new_session=True,
        )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield process, lines
    finally:
        # With all that it started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        thread.join(10)


def _next(process: subprocess.Popen[str], lines: queue.Queue[str | None], seconds: float) -> Any:
    """The worker's next line, or a text that says why there is none."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            line = lines.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            if time.monotonic() > deadline:
                return f"hung for {seconds:.0f} s"
            if (memory := _memory(process.pid)) > MOST_MEMORY:
                return f"took {memory} MiB"
            continue
        if line is None:
            return _how_it_ended(process.wait())
        return json.loads(line)


def _memory(pid: int) -> int:
    """MiB that a process has."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except (OSError, IndexError):
        return 0


def _how_it_ended(status: int) -> str:
    return (
        f"crashed by {signal.Signals(-status).name}" if status < 0 else f"ended its process with status {status}"
    )
