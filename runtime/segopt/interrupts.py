"""What Ctrl-C, SIGTERM and SIGHUP do to the command: they raise :class:`Interrupted` in the main thread.

It is imported before everything else, so that a signal during start-up is one line, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_RETRY_SECONDS = 0.02


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end. ``status`` is the exit status that says so: 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


_waiting = False
"""A signal waits for the end of an import."""

_held: list[list[int]] = []
"""Signals that wait for the end of a :func:`held` block, for each such block in the main thread."""


def watch() -> None:
    """Let each signal that is not ignored (as nohup ignores SIGHUP) raise :class:`Interrupted`."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _interrupt)
        sys.unraisablehook = _unraisable


def ignore() -> None:
    """The work is done, and nothing may disturb the exit."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let a signal wait for the end of the block; a second one does not wait. For the main thread."""
    if threading.current_thread() is not threading.main_thread() or _held:
        yield
        return
    waiting: list[int] = []
    _held.append(waiting)
    try:
        yield
    finally:
        _held.clear()
    if waiting:
        raise Interrupted(waiting[0])


def exit_status(error: BaseException) -> int:
    """The exit status after an interrupt."""
    return error.status if isinstance(error, Interrupted) else 128 + signal.SIGINT


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _waiting
    if _held and not _held[0]:
        _held[0].append(number)
        return
    if not _importing(frame):
        _waiting = False
        raise Interrupted(number)
    # Raised inside an import, it would be lost in a C extension or come out as another error. So it waits for the
    # end of the import, and a second one does not.
    if _waiting:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"segopt: interrupted\n")
        os._exit(128 + number)
    _waiting = True
    _again(number)


def _again(number: int) -> None:
    def send() -> None:
        # The handler sees a first signal.
        global _waiting
        if _waiting:
            _waiting = False
            signal.raise_signal(number)

    timer = threading.Timer(_RETRY_SECONDS, send)
    timer.daemon = True
    # By its name, the command does not wait for it at its end.
    timer.name = "segopt-interrupt"
    timer.start()


def _unraisable(unraisable: Any) -> None:
    """A finalizer, or a callback from C, cannot end the command: what came up in one is raised again behind it."""
    global _waiting
    if isinstance(unraisable.exc_value, Interrupted):
        _waiting = True
        _again(unraisable.exc_value.status - 128)
    else:
        sys.__unraisablehook__(unraisable)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
