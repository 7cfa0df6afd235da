"""JSON documents with one long list, written as the list grows."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from segopt.files.atomic import sink_error
from segopt.files.reserved import ReservedFile
from segopt.files.temporary import create, key_of

_RESERVE = 64 << 10


class JsonStream:
    """A JSON file whose entries are written one by one; it is valid however early it is closed.

    Its form is a list of entries, or, where ``key`` is given, an object with the fields of ``head``, the list
    under ``key``, and the lists of the tail that grow beside it. It appears under its name when it is closed.
    An entry that finds the disk full raises :class:`SinkError` and is left out; what came before it is kept.

    Each entry is one line of the temporary file. What goes to the tail is, until then, in lines of a second one,
    each with the number of entries that came with and before it, so that a file of a killed process can be
    completed.
    """

    def __init__(
        self,
        path: Path,
        *,
        key: str | None = None,
        head: Mapping[str, Any] | None = None,
        overwrite: bool = True,
    ) -> None:
        """Open the file.

        Args:
            path: where it is to appear.
            key: name of the list in an object; None makes the document a list.
            head: fields before the list.
            overwrite: replace a file that is there.

        Raises:
            SinkError: unwritable folder, or no space at all.
        """
        self.path = path
        self.entries = 0
        self._tail: dict[str, bytearray] = {}
        self._key = key
        self._file = ReservedFile(path, _RESERVE, overwrite=overwrite)
        self._lines: tuple[Path, int] | None = None
        fields = "".join(f"{json.dumps(name)}: {_dumps(value)},\n" for name, value in (head or {}).items())
        self._write(("[" if key is None else f"{{{fields}{json.dumps(key)}: [").encode())
        self._closed = False

    def __enter__(self) -> JsonStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def extend(self, entries: Iterable[Any], tail: Mapping[str, Any] | None = None) -> None:
        """Append entries, and one value to each list of the tail that is named; all of it or nothing.

        Raises:
            SinkError: the disk is full.
        """
        added = [_dumps(entry) for entry in entries]
        data = "".join(f"{',' if i or self.entries else ''}\n{entry}" for i, entry in enumerate(added)).encode()
        tail = tail or {}
        self._file.reserve += sum(len(_dumps(value).encode()) + 2 for value in tail.values())
        full = self._file.claim(len(data))
        if full is not None:
            raise sink_error(self.path, full)
        if tail:
            self._keep_line(len(added), tail)
        self._write(data)
        self.entries += len(added)
        for name, value in tail.items():
            add_to_tail(self._tail, name, value)

    def close(self) -> None:
        """Complete the file and give it its name; harmless when repeated.

        Raises:
            SinkError: it cannot be renamed.
        """
        if self._closed:
            return
        self._closed = True
        self._write(ending(None if self._key is None else self._tail))
        self._file.commit()
        self._drop_lines()

    def discard(self) -> None:
        """Leave nothing of it; harmless after :meth:`close`."""
        if not self._closed:
            self._closed = True
            self._file.discard()
            self._drop_lines()

    def _keep_line(self, added: int, tail: Mapping[str, Any]) -> None:
        line = f"{_dumps({'entries': self.entries + added, 'tail': tail})}\n".encode()
        try:
            if self._lines is None:
                self._lines = create(self.path, "lines", key=key_of(self._file.temporary))
            os.write(self._lines[1], line)
        except OSError as error:
            raise sink_error(self.path, error) from None

    def _drop_lines(self) -> None:
        if self._lines is not None:
            path, descriptor = self._lines
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise sink_error(self.path, error) from None


def ending(tail: Mapping[str, bytes | bytearray] | None) -> bytes:
    """What stands behind the last entry: of a list (None), or of an object with these further lists."""
    if tail is None:
        return b"\n]\n"
    lists = b"".join(b",\n%s: [%s]" % (json.dumps(name).encode(), values) for name, values in tail.items())
    return b"\n]%s}\n" % lists


def add_to_tail(tail: dict[str, bytearray], name: str, value: Any) -> None:
    """Append a value to the list of that name."""
    values = tail.setdefault(name, bytearray())
    values += (b",\n" if values else b"") + _dumps(value).encode()


def _dumps(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # A file's name that is no UTF-8 has half of a surrogate pair for each odd byte, which JSON can hold escaped.
    return text.encode("utf-8", "backslashreplace").decode()
