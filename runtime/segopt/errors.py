"""The errors that segopt raises on purpose.

Each message is one line: what happened, to which file or value, and the fix. The command line prints it and
exits with a non-zero status; a traceback is kept for what nobody foresaw.
"""

from __future__ import annotations


class SegoptError(Exception):
    """Base class of every error that a user can fix."""


class CardError(SegoptError):
    """A model file carries no card, or one that this version cannot read."""


class EngineError(SegoptError):
    """A model file cannot be loaded or run on this machine."""


class SourceError(SegoptError):
    """A picture, video or camera cannot be opened or read."""


class SourceBrokenError(SourceError):
    """A source broke off in the middle; what came before it is good."""

    def __init__(self, text: str, *, frames: int | None = None, reason: str = "") -> None:
        """Say what broke.

        Args:
            text: the message, in which ``{frames}`` stands for how many frames were good.
            frames: how many the source gave.
            reason: why it broke off, in a few words; empty is the whole message.
        """
        super().__init__(text if frames is None else text.replace("{frames}", str(frames)))
        self._text, self._frames = text, frames
        self.reason = reason or str(self)

    def of(self, frames: int) -> SourceBrokenError:
        """The same, where so many frames were not only given but written."""
        if self._frames is None:
            return self
        return SourceBrokenError(self._text, frames=frames, reason=self.reason)


class SinkError(SegoptError):
    """A result cannot be written: unwritable folder, full disk, missing encoder."""


class ExportError(SegoptError):
    """A network cannot be exported: unknown name, weights that do not fit, bad size, failed check."""


class UsageError(SegoptError):
    """Options that do not go together."""


class PlanWarning(UserWarning):
    """A plan was built on another model of GPU than the one that it runs on."""


class SlotsWarning(UserWarning):
    """All of a model's slots for detections were used on a frame, so that some may be missing."""


class SuppressionWarning(UserWarning):
    """The fixed number of suppression steps in the graph did not converge on a frame."""


def printable(text: str) -> str:
    """A text in which what no terminal should get is written out: ``\\x1b``."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def what_is_wrong(error: Exception) -> str:
    """What reading JSON that may be damaged stumbled over, in one line for between parentheses."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    return " ".join(str(error).split())[:200]


def first_line(error: BaseException) -> str:
    """What another library's exception says, cut to its first line; where it says nothing, its type's name."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
