"""From what a user typed to files: videos, pictures, folders, globs, list files and URIs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segopt.errors import SourceError
from segopt.labeling import remote
from segopt.labeling.units import InputFile, Kind, is_uri
from segopt.sources.lists import listed
from segopt.sources.opening import VIDEO_SUFFIXES, near_names
from segopt.sources.pictures import PICTURE_SUFFIXES, natural_key


@dataclass(frozen=True)
class Listing:
    """What was found."""

    files: tuple[InputFile, ...]
    """Videos and pictures; those of a folder together, in natural order."""
    missing: tuple[str, ...]
    """A line for each entry of a list file that could not be found."""


def find_files(sources: Sequence[str], output: Path) -> Listing:
    """The files that sources name.

    Args:
        sources: videos, pictures, folders (with all below them), globs, URIs, and ``@FILE``, a list of such, one a
            line.
        output: folder of the results, which is left out of any folder above it.

    Raises:
        SourceError: one that was typed cannot be found, or has no video and no picture in it. Those of a list file
            are told in the answer, so that a few lost ones of thousands do not hold up the others.
        UsageError: a list file that cannot be read.
    """
    files: list[InputFile] = []
    missing: list[str] = []
    for source in sources:
        if not (source.startswith("@") and len(source) > 1):
            files += _of(source, output)
            continue
        for entry in listed(Path(source[1:]), errors="surrogateescape"):
            try:
                files += _of(entry, output)
            except SourceError as error:
                missing.append(str(error))
    return Listing(tuple(_together(files)), tuple(missing))


def _of(source: str, output: Path) -> list[InputFile]:
    if is_uri(source) and not source.startswith("file://"):
        return [_input(folder, name) for folder, name in remote.find(source, _is_input)]
    path = Path(source.removeprefix("file://"))
    try:
        if path.is_dir():
            files = [_input(folder, name) for folder, name in _below(path, output) if _is_input(name)]
            if not files:
                raise SourceError(f"{source}: has no videos and no pictures in it or below it; check the name")
            return files
        if path.is_file():
            return [_input(*os.path.split(_absolute(str(path))))]
    except OSError as error:
        raise SourceError(f"{source}: cannot be read ({error.strerror}); check name and permissions") from None
    if glob.has_magic(source):
        found = [name for name in glob.glob(source, recursive=True) if os.path.isfile(name)]  # noqa: PTH207, PTH113
        if not found:
            raise SourceError(f"{source}: matches no file; check the pattern, and quote it for the shell")
        return [_input(*os.path.split(_absolute(name))) for name in found if _is_input(name)]
    raise SourceError(f"{source}: does not exist; {near_names(path)}")


def _below(top: Path, output: Path) -> Iterator[tuple[str, str]]:
    results = output.resolve()
    for folder, folders, names in os.walk(_absolute(str(top))):
        here = Path(folder)
        if here.resolve() == results:
            folders.clear()
            continue
        folders[:] = sorted(
            (each for each in folders if not each.startswith(".")), key=lambda each: natural_key(Path(each))
        )
        yield from ((folder, name) for name in names if not name.startswith("."))


def _absolute(path: str) -> str:
    # As it is mounted: a link is a link on every machine.
    return os.path.abspath(path)  # noqa: PTH100


def _is_input(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES  # noqa: PTH122


def _input(folder: str, name: str) -> InputFile:
    kind: Kind = "pictures" if os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES else "video"  # noqa: PTH122
    return InputFile(folder, name, kind)


def _together(files: Iterable[InputFile]) -> list[InputFile]:
    """Folders in the order in which they came, the files of each in natural order, videos before pictures."""
    folders: dict[str, list[InputFile]] = {}
    for file in files:
        folders.setdefault(file.folder, []).append(file)
    return [
        file
        for group in folders.values()
        for file in sorted(group, key=lambda file: (file.kind == "pictures", natural_key(Path(file.name))))
    ]
