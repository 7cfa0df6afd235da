"""The CPU that this process runs on: its name, what it can do, and how many of its cores may be used."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_INFO = Path("/proc/cpuinfo")


def name() -> str:
    """What the maker calls it; where the system does not tell, its architecture."""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _text(), flags=re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def flags() -> frozenset[str]:
    """Linux's names of its instruction sets, such as ``avx2``; none where the system does not tell."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _text(), flags=re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _text() -> str:
    try:
        return _INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
