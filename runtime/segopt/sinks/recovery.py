"""Completes what killed runs left in a folder, and sweeps away the rest."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from segopt.errors import SinkError
from segopt.files.atomic import sink_error
from segopt.files.lock import LOCK_NAME, locked
from segopt.files.reserved import ReservedFile, WrittenPart
from segopt.files.temporary import Leftover, free_name, leftovers
from segopt.interrupts import held
from segopt.sinks.json_list import add_to_tail, ending

_INDEX_RESERVE = 256 << 10

Unit = Literal["frames", "entries"]


@dataclass(frozen=True)
class Recovered:
    """A file that was completed."""

    path: Path
    count: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.path} ({self.count} {self.unit})"


@dataclass(frozen=True)
class Recovery:
    """What was done in a folder."""

    files: tuple[Recovered, ...]
    swept: int
    """Temporary files that were taken away, those of the completed files among them."""
    skipped: tuple[str, ...] = ()
    """Why folders were left alone, a line for each."""


def recover_below(top: Path) -> Recovery:
    """:func:`recover` in a folder and all below it, but for those that a living run has."""
    files: list[Recovered] = []
    skipped: list[str] = []
    swept = 0
    for folder in [top, *sorted(Path(name) for name, _, _ in os.walk(top) if Path(name) != top)]:
        try:
            if not _has_leftovers(folder):
                continue
            with locked(folder):
                recovery = recover(folder)
        except SinkError as error:
            skipped.append(str(error))
            continue
        files += recovery.files
        swept += recovery.swept
    return Recovery(tuple(files), swept, tuple(skipped))


def _has_leftovers(folder: Path) -> bool:
    try:
        if (folder / LOCK_NAME).exists():
            return True
        with leftovers(folder) as found:
            return bool(found)
    except OSError as error:
        raise sink_error(folder, error) from None


def recover(folder: Path, *, avoid: Collection[Path] = ()) -> Recovery:
    """Complete the videos and JSON documents of dead runs in a folder, and remove their temporary files.

    A completed file gets the name that it was to have, or where something has that name, one with a number. What
    is still being written is not touched. The folders in this one are left alone.

    Args:
        folder: that this process has locked.
        avoid: names that are not to be given.

    Raises:
        SinkError: the folder cannot be listed or written; what could not be completed stays as it is.
    """
    try:
        with leftovers(folder) as found:
            lines = {left.key: left.path for left in found if left.ending == "lines"}
            files: list[Recovered] = []
            for left in found:
                if left.ending == "part":
                    completed = _complete(left, lines.get(left.key), avoid)
                    # An interrupt between the two would have the next one complete it again.
                    with held():
                        if completed is not None:
                            completed.file.commit()
                            files.append(Recovered(completed.file.path, completed.count, completed.unit))
                        left.path.unlink(missing_ok=True)
            for left in found:
                left.path.unlink(missing_ok=True)
    except OSError as error:
        raise sink_error(folder, error) from None
    return Recovery(tuple(files), len(found))


@dataclass
class _Completed:
    """A file that is complete, and waits for its name."""

    file: ReservedFile
    count: int
    unit: Unit


def _complete(left: Leftover, lines: Path | None, avoid: Collection[Path]) -> _Completed | None:
    """Complete one file; None where nothing of it is whole."""
    target = free_name(left.target, avoid)
    if left.target.suffix == ".mp4":
        return _complete_video(left.path, target)
    if left.target.suffix == ".json":
        return _complete_json(left.path, lines, target)
    return None


def _complete_video(part: Path, target: Path) -> _Completed | None:
    from av.error import FFmpegError

    from segopt.sinks.remux import remux, whole_fragments

    end = whole_fragments(part)
    if not end:
        return None
    file = ReservedFile(target, end + _INDEX_RESERVE, overwrite=False, ending="tmp")
    fragments = WrittenPart(part, end)
    try:
        # PyAV prints a traceback of what is raised in a file's read, write or seek, which it calls.
        with held():
            frames = remux(fragments, file)
    except FFmpegError:
        # A damaged disk: what a player makes of it is more than nothing.
        file.rewind()
        fragments.seek(0)
        while data := fragments.read(1 << 20):
            file.write(data)
        frames = 0
    except BaseException:
        file.discard()
        raise
    finally:
        fragments.close()
    return _Completed(file, frames, "frames")


def _complete_json(part: Path, lines: Path | None, target: Path) -> _Completed | None:
    tails = [] if lines is None else _whole_lines(lines)
    is_list, ends = _whole_entries(part)
    known = len(ends) if lines is None else max((n for n, _ in tails if n <= len(ends)), default=0)
    if not known:
        return None
    tail: dict[str, bytearray] = {}
    for count, values in tails:
        for name, value in values.items() if count <= known else ():
            add_to_tail(tail, name, value)
    file = ReservedFile(target, 0, overwrite=False, ending="tmp")
    try:
        with part.open("rb") as written:
            left = ends[known - 1]
            while left and (data := written.read(min(left, 1 << 20))):
                file.write(data)
                left -= len(data)
        file.write(ending(None if is_list else tail))
    except BaseException:
        file.discard()
        raise
    return _Completed(file, known, "entries")


def _whole_lines(lines: Path) -> list[tuple[int, dict[str, Any]]]:
    """The tail's values, each with the number of entries up to it."""
    found = []
    with lines.open("rb") as file, contextlib.suppress(ValueError, KeyError, TypeError):
        for line in file:
            document = json.loads(line)
            found.append((int(document["entries"]), dict(document["tail"])))
    return found


def _whole_entries(part: Path) -> tuple[bool, list[int]]:
    """Is the document a list? And where each entry that is whole ends, in bytes from the start."""
    ends: list[int] = []
    position, is_list, in_list = 0, False, False
    with part.open("rb") as file:
        for line in file:
            # Room that was kept for what never came is filled with zeros.
            text = line.rstrip(b"\n\0").removesuffix(b",")
            if in_list:
                try:
                    json.loads(text)
                except ValueError:
                    break
                ends.append(position + len(text))
            elif text.endswith(b"["):
                is_list, in_list = text == b"[", True
            position += len(line)
    return is_list, ends
