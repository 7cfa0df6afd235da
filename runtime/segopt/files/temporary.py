"""Temporary files that nobody can guess or redirect, and that say whether their writer still lives.

A temporary name is ``.NAME.<16 random hex digits>.ENDING``, in the folder of ``NAME`` itself. Its file is created
anew and never opened through a link, and its writer holds a lock on it for as long as it lives: what lies unlocked
was left by a process that died.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if sys.platform != "win32":
    import fcntl

Ending = Literal["part", "lines", "tmp"]
"""``part`` grows and can be completed by :mod:`segopt.sinks.recovery`, ``lines`` goes with one, and ``tmp`` is of
no use when its writer is gone."""

_NAME = re.compile(r"\.(?P<name>.+)\.(?P<key>[0-9a-f]{16})\.(?P<ending>part|lines|tmp)", re.DOTALL)
# Some network file systems know no locks; some know no hard links.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EXDEV})
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def create(path: Path, ending: Ending, *, key: str | None = None) -> tuple[Path, int]:
    """Create a temporary file for ``path``, and lock it.

    Args:
        path: the file that it is to become.
        ending: what kind it is.
        key: 16 hex digits, for a file that belongs to another one; None makes new ones.

    Returns:
        Its path, and a descriptor for reading and writing. The permissions are those that the umask leaves.

    Raises:
        OSError: it cannot be created.
    """
    while True:
        temporary = path.with_name(f".{path.name}.{key or os.urandom(8).hex()}.{ending}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o666)
        # Between the two calls someone who sweeps may have found it unlocked and removed it.
        if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)


def key_of(temporary: Path) -> str:
    """The random part of a temporary name."""
    return temporary.name.rsplit(".", 2)[1]


def give_name(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete file its name.

    Raises:
        FileExistsError: something has the name, and is not to be overwritten.
        OSError: the renaming fails.
    """
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.rename(path)
    else:
        temporary.unlink()


def free_name(path: Path, avoid: Collection[Path] = ()) -> Path:
    """The path itself if nothing is there, else the first of ``NAME-2.ext``, ``NAME-3.ext`` and so on."""
    number, free = 1, path
    while free in avoid or os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def try_lock(descriptor: int) -> bool:
    """Lock an open file against every other process and thread; False when another one has it."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


@dataclass(frozen=True)
class Leftover:
    """A temporary file whose writer is gone."""

    path: Path
    target: Path
    """The file that it was to become."""
    key: str
    ending: str


@contextlib.contextmanager
def leftovers(folder: Path) -> Iterator[list[Leftover]]:
    """What dead writers left in a folder, by name. All of it is locked for as long as the block lasts.

    Raises:
        OSError: the folder cannot be listed.
    """
    found = []
    with contextlib.ExitStack() as open_files:
        for path in sorted(folder.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match is None or not path.is_file() or path.is_symlink() or sys.platform == "win32":
                continue
            try:
                descriptor = os.open(path, os.O_RDWR | _NO_FOLLOW)
            except OSError:
                continue
            open_files.callback(os.close, descriptor)
            if try_lock(descriptor):
                found.append(Leftover(path, path.with_name(match["name"]), match["key"], match["ending"]))
        yield found
