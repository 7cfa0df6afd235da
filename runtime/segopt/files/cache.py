"""What is kept from one run to the next, in the user's cache folder.

Nothing depends on it: what is missing, damaged or cannot be written is made again. Each file begins with the
SHA-256 of the rest, and one that does not fit it is not there. When the folder outgrows its limit, what was not
used for longest goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from segopt.errors import SinkError
from segopt.files.atomic import make_folder, replacing

VARIABLE = "SEGOPT_CACHE"
"""Environment variable: another folder, or ``off``."""
LIMIT = 2 * 2**30
"""Bytes; a file of more than a quarter of it is not kept."""
_ENDING = ".kept"
_DIGEST = hashlib.sha256().digest_size


def folder() -> Path | None:
    """Where it is; None where nothing is to be kept."""
    asked = os.environ.get(VARIABLE, "")
    if asked.lower() == "off":
        return None
    if asked:
        return Path(asked)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "segopt"


def key_of(*facts: object) -> str:
    """A file's name for what was made from these facts: another fact, another name."""
    return hashlib.sha256(repr(facts).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def read(name: str) -> bytes | None:
    """What was kept under a name; None where there is nothing, or it is damaged."""
    place = folder()
    if place is None:
        return None
    path = place / (name + _ENDING)
    try:
        data = path.read_bytes()
    except OSError:
        return None
    content = memoryview(data)[_DIGEST:]
    if hashlib.sha256(content).digest() != data[:_DIGEST]:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return bytes(content)


def keep(name: str, data: bytes) -> None:
    """Keep something under a name; where it cannot be written, nothing is kept."""
    place = folder()
    if place is None or len(data) > LIMIT // 4:
        return
    with contextlib.suppress(SinkError):
        make_folder(place)
        with replacing(place / (name + _ENDING)) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(data).digest())
            file.write(data)
        _prune(place)


def forget(name: str) -> None:
    """Nothing is kept under a name any more."""
    place = folder()
    if place is not None:
        with contextlib.suppress(OSError):
            (place / (name + _ENDING)).unlink()


def _prune(place: Path) -> None:
    with contextlib.suppress(OSError):
        found = [(path, path.stat()) for path in place.glob(f"*{_ENDING}")]
        total = sum(stat.st_size for _, stat in found)
        for path, stat in sorted(found, key=lambda each: each[1].st_mtime):
            if total <= LIMIT:
                break
            path.unlink()
            total -= stat.st_size
