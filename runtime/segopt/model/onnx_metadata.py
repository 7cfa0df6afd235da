"""Reads the card from an ONNX file without loading the network.

``segopt info`` and the check before a build need a few hundred bytes out of a few hundred megabytes, on machines
that may have neither onnx nor ONNX Runtime. So the file's outermost protobuf message (``ModelProto`` in
onnx/onnx.proto3) is walked field by field and everything but ``metadata_props`` is skipped unread.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from segopt.errors import CardError

# ModelProto: field number -> wire type (0 is a varint, 2 is length-delimited).
_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_METADATA_PROPS = 14
_GRAPH = 7


def read_metadata(path: Path) -> dict[str, str]:
    """``metadata_props`` of an ONNX file.

    Raises:
        CardError: the file is missing, empty, truncated or no ONNX file.
    """
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise CardError(f"{path}: is a folder; name the .onnx file in it")
        if size == 0:
            raise CardError(f"{path}: is empty; export or copy it again")
        with path.open("rb") as file:
            return _walk(file, size, path)
    except FileNotFoundError:
        raise CardError(f"{path}: no such file; make one with `segopt export`") from None
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _walk(file: BinaryIO, size: int, path: Path) -> dict[str, str]:
    metadata: dict[str, str] = {}
    seen_graph = False
    try:
        while file.tell() < size:
            number, wire = _tag(file)
            if _MODEL_FIELDS.get(number) != wire:
                raise _NotOnnxError
            if wire == 0:
                _varint(file)
                continue
            length = _varint(file)
            if file.tell() + length > size:
                raise EOFError
            if number == _METADATA_PROPS:
                key, value = _string_pair(file.read(length))
                metadata[key] = value
            else:
                seen_graph |= number == _GRAPH
                file.seek(length, os.SEEK_CUR)
    except EOFError:
        # Any bytes can look like the start of a field: only a file that began as a model can be a truncated one.
        if file.tell() > 16 and _starts_like_onnx(path):
            raise CardError(f"{path}: is truncated; export or copy it again") from None
        raise CardError(f"{path}: is not an ONNX file") from None
    except (_NotOnnxError, UnicodeDecodeError):
        raise CardError(f"{path}: is not an ONNX file") from None
    if not seen_graph:
        raise CardError(f"{path}: is truncated (it holds no graph); export or copy it again")
    return metadata


class _NotOnnxError(Exception):
    pass


def _starts_like_onnx(path: Path) -> bool:
    """Whether the file opens with ``ir_version`` (a small number), as every writer of ONNX begins."""
    with path.open("rb") as file:
        head = file.read(3)
    return len(head) == 3 and head[0] == 0x08 and head[1] < 0x80


def _tag(file: BinaryIO) -> tuple[int, int]:
    key = _varint(file)
    return key >> 3, key & 7


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise _NotOnnxError


def _string_pair(entry: bytes) -> tuple[str, str]:
    """``StringStringEntryProto``: key is field 1, value is field 2."""
    fields = dict(_strings(entry))
    return fields.get(1, ""), fields.get(2, "")


def _strings(message: bytes) -> Iterator[tuple[int, str]]:
    stream = io.BytesIO(message)
    while stream.tell() < len(message):
        number, wire = _tag(stream)
        if wire != 2:
            raise _NotOnnxError
        yield number, stream.read(_varint(stream)).decode()
