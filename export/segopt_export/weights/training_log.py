"""Stands in for the log that mmengine saves beside the weights while it trains: nothing of it is needed or run."""

from __future__ import annotations

from typing import Any

HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
"""The class of its curves; a pickle that names it is a checkpoint of mmengine's."""

NAMES = (
    HISTORY,
    # Its methods are pickled by their names.
    "builtins.getattr",
    "__builtin__.getattr",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
)


class Ignored:
    """Takes whatever a pickle gives it, and keeps nothing."""

    def __new__(cls, *_: Any) -> Ignored:
        """Whatever it is called with."""
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def stand_ins() -> list[tuple[type, str]]:
    """What to give to :func:`torch.serialization.safe_globals` for a checkpoint of mmengine's."""
    return [(Ignored, name) for name in NAMES]
