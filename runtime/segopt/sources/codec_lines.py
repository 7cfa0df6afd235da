"""What codecs print: read instead of shown, since for some it is the only way to say what went wrong."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import cv2

_T = TypeVar("_T")

_STDERR = 2
_LOCK = threading.Lock()

_SILENT = 0

_CODECS = (
    b"Corrupt JPEG data:",
    b"Premature end of JPEG file",
    b"Inconsistent progression sequence",
    b"Invalid SOS parameters",
    b"Unknown Adobe color transform",
    b"Warning: unknown JFIF revision",
    b"libpng error:",
    b"libpng warning:",
    b"x264 [",
)
"""How lines of libjpeg (its ``JWRN_`` messages), libpng and x264 begin."""

_DAMAGE = (_CODECS[0], _CODECS[1], _CODECS[2])
_PADDING = re.compile(rb"Corrupt JPEG data: (\d+) extraneous bytes before marker")
_MOST_PADDING = 16
"""Bytes before a marker that are no damage: some cameras pad the end of the data."""


def call_listening(codec: Callable[[], _T]) -> tuple[_T, str | None]:
    """Call a codec and give what it returns, and the damage that it told of; None is none.

    libjpeg writes its warnings to file descriptor 2 and to nothing else. For the milliseconds of the call that
    descriptor is a file in memory. What other threads write there meanwhile is passed on, byte for byte, after it.
    """
    with _LOCK, contextlib.ExitStack() as stack:
        try:
            screen = os.dup(_STDERR)
            stack.callback(os.close, screen)
            heard = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        except OSError:
            return codec(), None  # Closed, or there is no place for a file.
        os.dup2(heard.fileno(), _STDERR)
        try:
            answer = codec()
        finally:
            os.dup2(screen, _STDERR)
            heard.seek(0)
            lines = heard.read().splitlines(keepends=True)
            others = b"".join(line for line in lines if not line.startswith(_CODECS))
            if others:
                with contextlib.suppress(OSError):
                    os.write(screen, others)
    return answer, next((line.decode(errors="replace").strip() for line in lines if _tells_damage(line)), None)


def _tells_damage(line: bytes) -> bool:
    padding = _PADDING.match(line)
    return line.startswith(_DAMAGE) and (padding is None or int(padding[1]) > _MOST_PADDING)


def silence_opencv() -> None:
    """Keep OpenCV's own log off the screen."""
    # OpenCV 5 has it in cv2.utils.logging, 4.11 in cv2, and others in both.
    module: Any = cv2 if hasattr(cv2, "setLogLevel") else getattr(cv2.utils, "logging", None)
    if module is not None:
        module.setLogLevel(_SILENT)
