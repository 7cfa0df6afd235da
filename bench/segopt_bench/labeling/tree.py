"""CPU time of a command and of all that it starts, daemons too. Linux alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_POLL_SECONDS = 0.1
_PARENT, _USER, _SYSTEM, _START = 1, 11, 12, 19
"""Fields of /proc/PID/stat behind the name in parentheses."""


def run_tree(command: Sequence[str]) -> tuple[str, float, float]:
    """Run a command to its end.

    Returns:
        What it printed; the seconds that it took; and the CPU seconds of it and its descendants, each as it was
        seen last, at most a tenth of a second before its end.

    Raises:
        RuntimeError: it failed.
    """
    tick = os.sysconf("SC_CLK_TCK")
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    used: dict[tuple[int, int], int] = {}
    family: set[tuple[int, int]] = set()
    while process.poll() is None:
        found = _all()
        named = {pid: (pid, start) for pid, (_, start, _) in found.items()}
        # Ray's daemons outlive what started them by moments: who was of the family stays of it. A number alone
        # does not tell a process, since it is given again.
        family.add(named.get(process.pid, (0, 0)))
        parents = {named[pid]: named.get(parent) for pid, (parent, _, _) in found.items()}
        while grown := {own for own, parent in parents.items() if parent in family} - family:
            family |= grown
        used |= {(pid, start): ticks for pid, (_, start, ticks) in found.items() if (pid, start) in family}
        time.sleep(_POLL_SECONDS)
    seconds = time.perf_counter() - began
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(err.strip().splitlines()[-1] if err.strip() else f"status {process.returncode}")
    return out, seconds, sum(used.values()) / tick


def _all() -> dict[int, tuple[int, int, int]]:
    """Parent, start and ticks of each process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = path.read_text().rpartition(")")[2].split()
            ticks = int(fields[_USER]) + int(fields[_SYSTEM])
            found[int(path.parent.name)] = (int(fields[_PARENT]), int(fields[_START]), ticks)
    return found
