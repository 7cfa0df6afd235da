"""One attempt of the command on an input, and what may come of it."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import typer

from segopt import interrupts
from segopt.cli import main

# The same command for each case. Making it anew takes half of a case's time.
_main = sys.modules["segopt.cli.main"]
_main.make_app = functools.cache(_main.make_app)  # type: ignore[attr-defined]
typer.main.get_command = functools.cache(typer.main.get_command)

Outcome = Literal["right", "refused"]


class FaultError(Exception):
    """What may not come of any input. Its text says what happened."""


def command(folder: Path, name: str, *arguments: str | Path) -> Outcome:
    """Run the command in this process, in ``folder``.

    Args:
        folder: current folder while it runs; what is hidden in it afterwards was left behind.
        name: a file's, whose stem a line that refuses must hold.
        arguments: as a shell would give them.

    Raises:
        FaultError: it ended otherwise than with a right status and silence, or with one clear line.
    """
    status, stderr = _call(folder, [str(argument) for argument in arguments])
    verb = arguments[0]
    if status == 0:
        if stderr:
            raise FaultError(f"{verb}: status 0, and said: {stderr[:500]!r}")
        return "right"
    if status not in (1, 2):
        raise FaultError(f"{verb}: status {status}: {stderr[:500]!r}")
    check_line(stderr, name, str(verb))
    return "refused"


def check_line(stderr: str, name: str, verb: str) -> None:
    """One line for a person, which names the input."""
    if not re.fullmatch(r"segopt: error: \S[^\n]*\n", stderr):
        raise FaultError(f"{verb}: not one line: {stderr[-1500:]!r}")
    line = stderr.rstrip("\n")
    if "SEGOPT_DEBUG" in line or "Traceback" in line:
        raise FaultError(f"{verb}: nobody foresaw: {line[:500]!r}")
    if not line.isprintable() or len(line) > 1500:
        raise FaultError(f"{verb}: {len(line)} characters, or some that cannot be printed: {line[:500]!r}")
    if Path(name).stem not in line and "the engine gave" not in line:
        raise FaultError(f"{verb}: does not name {name}: {line[:500]!r}")


def _call(folder: Path, arguments: list[str]) -> tuple[int, str]:
    handlers = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    before = Path.cwd()
    os.chdir(folder)
    sys.argv = ["segopt", *arguments]
    try:
        with _captured(folder.parent / "stderr.txt") as stderr:
            try:
                main()
            except SystemExit as end:
                status = end.code
        return int(status or 0), stderr.read_text(encoding="utf-8", errors="replace")
    finally:
        os.chdir(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _captured(path: Path) -> Iterator[Path]:
    """Send what this process says on stderr to a file, C libraries' lines too; stdout into the void."""
    kept = [os.dup(number) for number in (1, 2)]
    streams = sys.stdout, sys.stderr
    with path.open("wb") as file, Path(os.devnull).open("wb") as void:
        os.dup2(void.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w", closefd=False)) for number in (1, 2))
        try:
            yield path
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = streams
            for number, copied in enumerate(kept, start=1):
                os.dup2(copied, number)
                os.close(copied)


def check_whole(case: Path) -> None:
    """Nothing half-written: no temporary file is left, and what is in ``out`` can be read to its end."""
    for path in sorted(case.rglob("*")):
        name = path.relative_to(case)
        if path.name.startswith("."):
            raise FaultError(f"left behind: {name}")
        if name.parts[0] == "out" and path.is_file() and path.suffix in _READERS:
            try:
                _READERS[path.suffix](path)
            except Exception as error:
                raise FaultError(f"not whole: {name}: {type(error).__name__}: {error}") from None


def _read_json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _read_picture(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()


def _play(path: Path) -> None:
    """Decode a video to its end, a frame and a thread at a time: this process may not take much memory."""
    import av

    with av.open(str(path), options={"err_detect": "explode"}) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        count = 0
        for picture in container.decode(stream):
            if picture.is_corrupt:
                raise ValueError(f"frame {count} is corrupt")
            count += 1
        if count != stream.frames:
            raise ValueError(f"{count} frames of {stream.frames}")


_READERS = {".json": _read_json, ".png": _read_picture, ".jpg": _read_picture, ".mp4": _play}
