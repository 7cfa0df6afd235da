"""One run for each output folder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from segopt.errors import SinkError
from segopt.files.atomic import sink_error
from segopt.files.temporary import try_lock
from segopt.interrupts import held

LOCK_NAME = ".segopt.lock"
"""Hidden file that a run keeps in its output folder, and takes away at its end."""

_LONGEST = 1 << 12
"""Bytes that are read of another run's lock file."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder for this run alone.

    Raises:
        SinkError: another run has it, whose process, host and start are named; or it cannot be written.
    """
    path = folder / LOCK_NAME
    descriptor: int | None = None
    try:
        with held():
            descriptor = _lock(folder, path)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        # First the name, then the lock: who opens the name in between finds it locked, or finds another file.
        if descriptor is not None:
            with held():
                with contextlib.suppress(OSError):
                    path.unlink()
                os.close(descriptor)


def _lock(folder: Path, path: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            if path.is_symlink():
                raise SinkError(f"{path}: is a link and no lock file of segopt; remove it") from None
            raise sink_error(folder, error) from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SinkError(f"{path}: is no lock file of segopt; remove it")
            if not try_lock(descriptor):
                raise SinkError(
                    f"{folder}: another run writes to it ({_holder(descriptor)}); wait for its end, or give "
                    "another folder with --output"
                )
            if _is_same(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_same(path: Path, descriptor: int) -> bool:
    """Is the locked file still the one of that name? Its last holder may have removed it."""
    own = os.fstat(descriptor)
    try:
        there = path.lstat()
    except OSError:
        return False
    return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)


def _holder(descriptor: int) -> str:
    try:
        found = json.loads(os.pread(descriptor, _LONGEST, 0))
        return f"process {int(found['pid'])} on {str(found['host'])[:80]!r}, since {str(found['since'])[:40]}"
    except (OSError, ValueError, TypeError, KeyError):
        return "it has only just begun"


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
