"""Shards: the results of a unit, which have their name when they are complete and not before.

A worker writes to a hidden folder beside them, ``.NAME.attempt-N``, and renames what is complete. So a shard that
exists is done, whatever was killed, and when.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segopt.errors import SegoptError
from segopt.files.atomic import make_folder, sink_error

MOST_ATTEMPTS = 3
"""A unit whose workers died so often (a codec that crashes, memory that runs out) is not tried again in a run."""
_MARK = ".attempt-"


class PoisonError(SegoptError):
    """A unit killed its worker time and again."""


@dataclass(frozen=True)
class Attempt:
    """A hidden folder for one try of a unit."""

    folder: Path
    number: int
    """From 1: how many workers died over this unit before, and one."""


def attempt_for(shards: Path, name: str) -> Attempt:
    """Make the folder for the next try of a unit.

    Raises:
        PoisonError: it has been tried :data:`MOST_ATTEMPTS` times.
        SinkError: the folder cannot be made.
    """
    make_folder(shards)
    for number in range(1, MOST_ATTEMPTS + 1):
        folder = shards / f".{name}{_MARK}{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise sink_error(folder, error) from None
        return Attempt(folder, number)
    raise PoisonError(
        f"its worker died {MOST_ATTEMPTS} times over it (out of memory, or a codec that crashed); look at the "
        "file, give workers more memory, or leave it out"
    )


def complete(attempt: Attempt, written: Path, shard: Path) -> bool:
    """Give what was written its name, on the disk before it is seen, and take the tries before it away.

    Args:
        attempt: the try that succeeded.
        written: the folder or file that was written, the attempt's own folder or something in it.
        shard: what it is to be called.

    Returns:
        False where another worker, cut off and thought dead, was first: then that one's stands.

    Raises:
        SinkError: it cannot be written to the disk, or renamed.
    """
    try:
        _to_disk(written)
        if shard.exists():
            return False
        try:
            written.rename(shard)
        except OSError:
            if shard.exists():
                return False
            raise
    except OSError as error:
        raise sink_error(shard, error) from None
    finally:
        name = attempt.folder.name.rpartition(_MARK)[0]
        for number in range(1, MOST_ATTEMPTS + 1):
            shutil.rmtree(attempt.folder.with_name(f"{name}{_MARK}{number}"), ignore_errors=True)
    return True


def drop(attempt: Attempt) -> None:
    """Take away a try that failed of itself: it does not count."""
    shutil.rmtree(attempt.folder, ignore_errors=True)


def names_in(folder: Path) -> Iterator[str]:
    """Names of what is complete in a folder of shards; of no folder, nothing.

    Raises:
        SinkError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if not entry.name.startswith("."))
    except FileNotFoundError:
        return
    except OSError as error:
        raise sink_error(folder, error) from None


def sweep(folder: Path) -> int:
    """Remove what killed workers left, while no worker of the job lives; how many tries that were."""
    found = list(folder.glob(f".*{_MARK}*")) if folder.is_dir() else []
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return len(found)


def _to_disk(written: Path) -> None:
    """Let a file, or a folder with all in it, outlast a power cut."""
    # One call for all files: an fsync for each takes milliseconds a frame.
    flush = getattr(ctypes.CDLL(None), "syncfs", None) if sys.platform != "win32" else None
    paths = [written] if flush is not None or not written.is_dir() else [written, *written.rglob("*")]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if flush is None or flush(descriptor) != 0:
                # Some file systems have no such call; the file is no worse than before.
                with contextlib.suppress(OSError):
                    os.fsync(descriptor)
        finally:
            os.close(descriptor)
