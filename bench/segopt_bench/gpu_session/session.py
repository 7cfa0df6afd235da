"""Runs the steps of a session one after the other, and keeps what each one said."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segopt_bench.gpu_session.steps import Step

_QUERY = "clocks.sm,clocks.mem,power.draw,temperature.gpu,utilization.gpu"
_GPU_WATCHERS = (
    ("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits", "--loop-ms=500"),
    # On a Jetson nvidia-smi knows neither power nor clocks.
    ("tegrastats", "--interval", "500"),
)


@dataclass(frozen=True)
class Outcome:
    """What became of a step."""

    step: Step
    status: int | None
    """None where it took too long and was stopped."""
    seconds: float
    log: Path

    @property
    def text(self) -> str:
        """For people."""
        if self.status is None:
            return f"stopped after {self.step.minutes:g} minutes"
        return "good" if self.status == 0 else f"failed with status {self.status}"


def run_steps(steps: Sequence[Step], folder: Path) -> Iterator[Outcome]:
    """Run each step; one that fails or takes too long ends nothing but itself.

    Args:
        steps: in order.
        folder: for their logs, ``NAME.txt``.
    """
    for step in steps:
        log = folder / f"{step.name}.txt"
        began = time.perf_counter()
        with contextlib.ExitStack() as open_files:
            output = open_files.enter_context(log.open("wb"))
            if step.watched:
                open_files.enter_context(_watching(folder / f"{step.name}-gpu.csv"))
            status = _run(step, output.fileno())
        yield Outcome(step, status, time.perf_counter() - began, log)


def _run(step: Step, output: int) -> int | None:
    environment = {**os.environ, "COLUMNS": "120"}
    process = subprocess.Popen(
        step.command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    try:
        return process.wait(60 * step.minutes)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # All that it has started, too: a test's children hold the GPU.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


@contextlib.contextmanager
def _watching(path: Path) -> Iterator[None]:
    """Record clocks and power in a file, where a tool tells them."""
    command = next((watcher for watcher in _GPU_WATCHERS if shutil.which(watcher[0])), None)
    if command is None:
        yield
        return
    with path.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()
