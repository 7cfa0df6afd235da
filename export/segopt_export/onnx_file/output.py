"""What an export may replace."""

from __future__ import annotations

import contextlib
from pathlib import Path

from segopt.errors import CardError, ExportError
from segopt.files.atomic import check_writable
from segopt.model.card import METADATA_KEY
from segopt.model.onnx_metadata import read_metadata


def check_output(path: Path) -> None:
    """Find out before the work whether a file may be written, and what would be lost by it.

    Raises:
        ExportError: a file stands there that is no ONNX file with a card, and so none that an export made.
        SinkError: the file cannot be written.
    """
    if path.is_file() and path.stat().st_size and not _is_ours(path):
        raise ExportError(
            f"{path}: exists, and is no file that segopt exported; give another name with --output, or remove it"
        )
    new = [folder for folder in path.parents if not folder.exists()]
    check_writable(path)
    for folder in new:
        # A request that is refused later leaves nothing behind.
        with contextlib.suppress(OSError):
            folder.rmdir()


def _is_ours(path: Path) -> bool:
    try:
        return METADATA_KEY in read_metadata(path)
    except CardError:
        return False
