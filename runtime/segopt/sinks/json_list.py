"""JSON documents with one long list, written as the list grows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from segopt.files.atomic import sink_error
from segopt.files.reserved import ReservedFile

_RESERVE = 64 << 10


class JsonStream:
    """A JSON file whose entries are written one by one; it is valid however early it is closed.

    Its form is a list of entries, or, where ``key`` is given, an object with the fields of ``head``, the list
    under ``key``, and the lists of the tail that grow beside it. It appears under its name when it is closed.
    An entry that finds the disk full raises :class:`SinkError` and is left out; what came before it is kept.
    """

    def __init__(self, path: Path, *, key: str | None = None, head: Mapping[str, Any] | None = None) -> None:
        """Open the file.

        Raises:
            SinkError: unwritable folder, or no space at all.
        """
        self.path = path
        self.entries = 0
        self._tail: dict[str, bytearray] = {}
        self._key = key
        self._file = ReservedFile(path, _RESERVE)
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
        texts = {name: _dumps(value).encode() for name, value in (tail or {}).items()}
        self._file.reserve += sum(len(text) + 2 for text in texts.values())
        full = self._file.claim(len(data))
        if full is not None:
            raise sink_error(self.path, full)
        self._write(data)
        self.entries += len(added)
        for name, text in texts.items():
            values = self._tail.setdefault(name, bytearray())
            values += b",\n" + text if values else text

    def close(self) -> None:
        """Complete the file and give it its name; harmless when repeated.

        Raises:
            SinkError: it cannot be renamed.
        """
        if self._closed:
            return
        self._closed = True
        tail = b"".join(
            b",\n%s: [%s]" % (json.dumps(name).encode(), values) for name, values in self._tail.items()
        )
        self._write(b"\n]\n" if self._key is None else b"\n]%s}\n" % tail)
        self._file.commit()

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise sink_error(self.path, error) from None


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
