"""Runs a command and watches the memory and CPU time of its process. Linux alone."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segopt.errors import SegoptError

_POLL_SECONDS = 0.02
_SAMPLE_SECONDS = 0.25


class ProcessError(SegoptError):
    """A command that is to be measured fails, or cannot be watched on this system."""


@dataclass(frozen=True)
class Usage:
    """What a finished process took."""

    peak_bytes: int
    """Most memory that it held at once: VmHWM of proc_pid_status(5)."""
    cpu_seconds: float
    """User and system, of all its threads, from start to end."""
    seconds: float
    samples: tuple[tuple[float, int], ...]
    """Seconds since the start, and the bytes that it held then (VmRSS)."""


def run_watched(command: Sequence[str]) -> Usage:
    """Run a command to its end. Python keeps its byte code, as it does for an installed package.

    Raises:
        ProcessError: it fails, or there is no ``/proc`` to watch it in.
    """
    if not Path("/proc/self/status").exists():
        raise ProcessError("memory is read from /proc, which this system does not have; run this on Linux")
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=_environment()
        )
        peak, samples = 0, list[tuple[float, int]]()
        try:
            while True:
                # Not Popen.wait: wait4 gives the CPU time of this process alone.
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                seconds = time.perf_counter() - began
                if pid:
                    break
                highest, now = _memory(process.pid)
                peak = max(peak, highest)
                if not samples or seconds - samples[-1][0] >= _SAMPLE_SECONDS:
                    samples.append((seconds, now))
                time.sleep(_POLL_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            raise ProcessError(
                f"`{' '.join(command[:4])} ...` ended with status {process.returncode}: "
                f"{lines[-1] if lines else 'it said nothing'}"
            )
    return Usage(peak, usage.ru_utime + usage.ru_stime, seconds, tuple(samples))


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _memory(pid: int) -> tuple[int, int]:
    """Highest and present bytes of a process; zeros where it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0, 0
    found = [re.search(rf"^{name}:\s*(\d+) kB", status, flags=re.MULTILINE) for name in ("VmHWM", "VmRSS")]
    highest, now = (1024 * int(match[1]) if match else 0 for match in found)
    return highest, now
