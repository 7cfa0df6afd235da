"""A growing file that keeps room for its ending, so that a full disk still leaves a valid file."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from segopt.errors import SinkError
from segopt.files.atomic import FULL_ERRNOS, sink_error
from segopt.files.temporary import Ending, create, free_name, give_name
from segopt.interrupts import held

_NO_FALLOCATE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})
_STEP = 1 << 20
_SYNC_SECONDS = 5.0
"""What was written longer ago than this is on the disk, should the power fail."""


class ReservedFile:
    """A growing file that always has room for its ending.

    Disk blocks are allocated ahead of the writing, ``reserve`` bytes more than what was written. When no more can
    be had, ``full`` is set and the reserve is what remains to end the file properly. This works for a full disk,
    a quota and a file size limit alike. It is a raw file object: ``write``, ``seek`` and ``tell`` may be handed
    to PyAV. Not thread-safe.
    """

    def __init__(self, path: Path, reserve: int, *, overwrite: bool = True, ending: Ending = "part") -> None:
        """Open a temporary file next to ``path``.

        Args:
            path: the file that it is to become.
            reserve: bytes to keep for its ending.
            overwrite: replace a file that has the name when this one is complete.
            ending: of the temporary name.

        Raises:
            SinkError: unwritable folder, or not even the reserve is free.
        """
        self.path = path
        self.reserve = reserve
        self.full: OSError | None = None
        self.end = 0
        """Bytes written: one past the last."""
        self._overwrite = overwrite
        self._allocated = 0
        self._position = 0
        self._synced = time.monotonic()
        self._open = False
        try:
            with held():
                self.temporary, self._descriptor = create(path, ending)
                self._open = True
        except OSError as error:
            raise sink_error(path, error) from None
        self.name = str(self.temporary)
        full = self.claim(0)
        if full is not None:
            self.discard()
            raise sink_error(path, full)

    def __del__(self) -> None:
        # An interrupt came before anybody had it, who would have closed it.
        with contextlib.suppress(Exception):
            self.discard()

    @property
    def remaining(self) -> int:
        """Bytes that can be appended for certain."""
        return self._allocated - self.end

    def claim(self, size: int) -> OSError | None:
        """Get room to append ``size`` bytes and still have the reserve; the error where there is none."""
        if self.full is None and self.end + size + self.reserve > self._allocated:
            self._allocate(self.end + size)
        return self.full

    def write(self, data: bytes) -> int:
        """Write at the current position.

        Raises:
            OSError: neither the disk nor the reserve has room.
        """
        stop = self._position + len(data)
        if self.full is None and stop + self.reserve > self._allocated:
            self._allocate(stop)
        if stop > self._allocated and self.full is not None:
            raise self.full
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, self._position)
            self._position += written
            view = view[written:]
        self.end = max(self.end, self._position)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self._sync()
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position; SEEK_END counts from what was written, not from what is allocated."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.end}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def reader(self) -> WrittenPart:
        """A second file object that reads what was written up to now."""
        return WrittenPart(self.temporary, self.end)

    def rewind(self) -> None:
        """Write the file anew from its start, in the room that it has; what is not yet overwritten can be read."""
        self.end = self._position = 0

    def commit(self) -> None:
        """Give back what was not used and rename the file to its final name.

        Raises:
            SinkError: the renaming fails; or another program has taken the name meanwhile, and is not to be
                overwritten: then the file gets a name beside it, which the error says.
        """
        if not self._open:
            return
        self._open = False
        try:
            os.ftruncate(self._descriptor, self.end)
            self._sync()
            try:
                give_name(self.temporary, self.path, overwrite=self._overwrite)
            except FileExistsError:
                beside = free_name(self.path)
                give_name(self.temporary, beside, overwrite=False)
                raise SinkError(
                    f"{self.path}: another program made it while this one ran; what was written is in {beside}"
                ) from None
        except OSError as error:
            with contextlib.suppress(OSError):
                self.temporary.unlink(missing_ok=True)
            raise sink_error(self.path, error) from None
        finally:
            os.close(self._descriptor)

    def discard(self) -> None:
        """Remove the file; nothing appears under the final name."""
        if self._open:
            self._open = False
            os.close(self._descriptor)
            self.temporary.unlink(missing_ok=True)

    def _sync(self) -> None:
        # Some file systems of the FUSE kind have no such call; the file is no worse than before.
        with contextlib.suppress(OSError):
            getattr(os, "fdatasync", os.fsync)(self._descriptor)
        self._synced = time.monotonic()

    def _allocate(self, stop: int) -> None:
        """Allocate blocks up to ``stop`` plus the reserve: generously, else just enough; else be full."""
        needed = stop + self.reserve
        for target in (needed + _STEP, needed):
            try:
                _allocate(self._descriptor, self._allocated, target - self._allocated)
            except OSError as error:
                if error.errno not in FULL_ERRNOS:
                    raise
                self.full = error
            else:
                self._allocated = target
                self.full = None
                return


class WrittenPart:
    """Raw reading file object over the first ``end`` bytes of a file."""

    def __init__(self, path: Path, end: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._end = end

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; empty at the end."""
        return self._file.read(max(0, min(size, self._end - self._file.tell()))) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _allocate(descriptor: int, offset: int, length: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, offset, length)
            return
        except OSError as error:
            if error.errno not in _NO_FALLOCATE:
                raise
    zeros = bytes(min(length, _STEP))
    while length > 0:
        written = os.pwrite(descriptor, zeros[:length], offset)
        offset, length = offset + written, length - written
