"""Units: what is done as a whole, or again. A video is one, and so is a chunk of a folder's pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args

from segopt.model.fields import one_of

Kind = Literal["video", "pictures"]
_LONGEST_NAME = 200
"""Bytes, so that a hidden name around it and an ending have room in the 255 of a file system."""


@dataclass(frozen=True)
class InputFile:
    """A file that is to be labeled."""

    folder: str
    """Absolute path, or URI: ``s3://lake/2024?region=eu-west-1``."""
    name: str
    kind: Kind

    @property
    def place(self) -> str:
        """Its path or URI."""
        return joined(self.folder, self.name)


@dataclass(frozen=True)
class Unit:
    """Files that become one shard."""

    name: str
    """Of the shard; no other unit of the job has it, in upper or lower case."""
    kind: Kind
    folder: str
    """Where its files lie; see :class:`InputFile`."""
    files: tuple[str, ...]
    """Their names: one of a video, one and more of pictures."""

    @property
    def places(self) -> tuple[str, ...]:
        """Paths or URIs of its files."""
        return tuple(joined(self.folder, name) for name in self.files)

    @property
    def label(self) -> str:
        """What a message calls it: the file, or the first of how many pictures."""
        more = len(self.files) - 1
        return self.places[0] + (f" and {more} more picture{'' if more == 1 else 's'}" if more else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "kind": self.kind, "folder": self.folder, "files": list(self.files)}

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Unit:
        """Read what :meth:`to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is no unit.
        """
        # Names of files need not be text that a terminal could show.
        name, folder, files = members["name"], members["folder"], members["files"]
        if not all(isinstance(each, str) for each in (name, folder, *files)) or not files:
            raise ValueError(f"unit {str(name)[:80]!r}")
        if not name or name.startswith(".") or "/" in name:
            raise ValueError(f"unit {name[:80]!r} cannot be a folder")
        return cls(name, one_of(get_args(Kind), members["kind"], "kind"), folder, tuple(files))


def is_uri(place: str) -> bool:
    """Whether a place is a URI such as ``s3://lake``, and no path."""
    scheme, found, _ = place.partition("://")
    return bool(found) and scheme.replace("+", "").replace("-", "").isalnum()


def joined(folder: str, name: str) -> str:
    """A file in a folder; what follows ``?`` in a URI stays at its end."""
    base, question, query = folder.partition("?") if is_uri(folder) else (folder, "", "")
    return f"{base.rstrip('/')}/{name}{question}{query}"


def new_units(files: Iterable[InputFile], known: Iterable[Unit], chunk: int) -> list[Unit]:
    """Units of those files that no known unit has: in the files' order, pictures of one folder ``chunk`` at most.

    A unit is called as its video, or its folder of pictures; of several with one name the later ones get ``-2``,
    ``-3`` and so on. Names of known units are not given again, so that a job can grow.
    """
    known = list(known)
    done = {place for unit in known for place in unit.places}
    fresh = list({file.place: file for file in files if file.place not in done}.values())
    names = _Names(unit.name for unit in known)
    units: list[Unit] = []
    for (kind, folder), group in groupby(fresh, key=lambda file: (file.kind, file.folder)):
        for part in _chunks([file.name for file in group], 1 if kind == "video" else chunk):
            stem = part[0].rpartition(".")[0] or part[0] if kind == "video" else _last_part(folder)
            units.append(Unit(names.take(stem), kind, folder, tuple(part)))
    return units


def _chunks(names: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _last_part(folder: str) -> str:
    base = folder.partition("?")[0] if is_uri(folder) else folder
    return base.rstrip("/").rpartition("/")[2].rstrip(":") or "root"


class _Names:
    """Names for folders, each given once."""

    def __init__(self, taken: Iterable[str]) -> None:
        # Some file systems do not tell Drive from drive.
        self._taken = {name.casefold() for name in taken}
        self._numbers: dict[str, int] = {}

    def take(self, stem: str) -> str:
        """The name itself if it is free, else with a number."""
        base = stem.encode("utf-8", "surrogateescape")[:_LONGEST_NAME].decode("utf-8", "ignore")
        base = base.replace("/", "-").lstrip(".").strip() or "unit"
        number, name = self._numbers.get(base.casefold(), 1), base
        while number > 1 or name.casefold() in self._taken:
            number += 1
            name = f"{base}-{number}"
            if name.casefold() not in self._taken:
                break
        self._numbers[base.casefold()] = number
        self._taken.add(name.casefold())
        return name
