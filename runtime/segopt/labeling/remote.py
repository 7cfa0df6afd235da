"""Object stores and remote file systems: pyarrow's own (s3, gs, hdfs), and those of fsspec for all other schemes.

Credentials are theirs: environment, configuration files, or the machine's role.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segopt.errors import SourceError, first_line
from segopt.labeling.units import joined

_PIECE = 1 << 20


def find(uri: str, wanted: Callable[[str], bool]) -> list[tuple[str, str]]:
    """The files that a URI names: itself, all below a folder, or those that match its ``*``.

    Args:
        uri: ``s3://bucket/folder``, ``gs://bucket/*.mp4``, ``hdfs://host/path``; options of the file system follow
            ``?``.
        wanted: which names of a folder to take.

    Returns:
        Folder (as a URI) and name of each.

    Raises:
        SourceError: nothing is there, or it does not answer.
    """
    address, question, query = uri.partition("?")
    scheme = address.partition("://")[0]
    magic = "*" in address or "[" in address
    base = address[: min(i for i in map(address.find, "*[") if i >= 0)].rpartition("/")[0] if magic else address
    system, top = _open(f"{base}{question}{query}")
    from pyarrow.fs import FileSelector, FileType

    try:
        info = system.get_file_info(top)
        if info.type == FileType.File:
            found = [top]
        else:
            below = system.get_file_info(FileSelector(top, recursive=True, allow_not_found=True))
            files = (each.path for each in below if each.type == FileType.File and wanted(each.base_name))
            found = sorted(path for path in files if "/." not in path[len(top) :])
    except Exception as error:
        raise _unreachable(uri, error) from None
    # A file system names its files without scheme, and some with another root: what they share is their end.
    names = [path[len(top) :].lstrip("/") for path in found]
    places = [(f"{base}/{name}" if name else base) for name in names]
    if magic:
        places = [place for place in places if fnmatch.fnmatchcase(place, address)]
    if not places:
        raise SourceError(
            f"{uri}: has no videos and no pictures; check the name, and the rights to list {scheme}://"
        )
    split = (place.rpartition("/") for place in places)
    return [(f"{folder}{question}{query}", name) for folder, _, name in split]


def fetch(folder: str, name: str, target: Path) -> None:
    """Copy a file to this machine.

    Raises:
        SourceError: it cannot be read.
        OSError: it cannot be written here.
    """
    uri = joined(folder, name)
    system, path = _open(uri)
    try:
        stream = system.open_input_stream(path)
    except Exception as error:
        raise _unreachable(uri, error) from None
    with stream, target.open("wb") as file:
        while True:
            try:
                piece = stream.read(_PIECE)
            except Exception as error:
                raise _unreachable(uri, error) from None
            if not piece:
                return
            file.write(piece)


def _open(uri: str) -> tuple[Any, str]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem
    except ImportError:
        raise SourceError(f"{uri}: needs pyarrow; install it with `pip install 'segopt[cluster]'`") from None
    try:
        try:
            system, path = FileSystem.from_uri(uri)
        except ArrowInvalid as error:
            if "nrecognized" not in str(error):
                raise
            from fsspec.core import url_to_fs

            found, path = url_to_fs(uri.partition("?")[0])
            system = PyFileSystem(FSSpecHandler(found))
    except Exception as error:
        raise _unreachable(uri, error) from None
    return system, path


def _unreachable(uri: str, error: Exception) -> SourceError:
    return SourceError(
        f"{uri}: cannot be read ({first_line(error)[:200]}); check the address and your credentials"
    )
