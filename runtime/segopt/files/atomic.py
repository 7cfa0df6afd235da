"""Files that appear whole or not at all.

Everything is written to a temporary name in the target's own folder and renamed when it is complete, so that a
reader never meets half a file. :class:`ReservedFile` is for files that grow for as long as a run lasts: it keeps
room for their ending, so that a disk which fills up on the way still gets a valid file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.errors import SinkError
from segopt.files.temporary import create, give_name
from segopt.interrupts import held

FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Disk full, quota used up, file size limit reached."""

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""OpenCV writes more, among them JPEG 2000: where that fails, a temporary file stays and the screen gets lines."""


def sink_error(path: Path, error: OSError) -> SinkError:
    """The one-line error for a file or folder that cannot be written."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in FULL_ERRNOS:
        fix = "free some space or give another folder with --output"
    else:
        fix = "give a folder that you may write to with --output"
    return SinkError(f"{path}: cannot be written ({reason}); {fix}")


def make_folder(folder: Path) -> None:
    """Create a folder and its parents; one that exists is fine.

    Raises:
        SinkError: it cannot be created, or a file stands in its place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise sink_error(folder, error) from None


def exists_error(path: Path) -> SinkError:
    """The one-line error for a file that is there already and that this run did not make."""
    return SinkError(f"{path}: exists already; give another place for it, or --overwrite to replace it")


def check_new(path: Path, *, overwrite: bool) -> None:
    """Find out before a long job whether its file would replace another one.

    Raises:
        SinkError: something has that name, and is not to be overwritten.
    """
    if not overwrite and os.path.lexists(path):
        raise exists_error(path)


def check_writable(path: Path) -> None:
    """Find out before a long job whether a file can be written; nothing is left behind.

    Raises:
        SinkError: unwritable folder, or a folder stands in the file's place.
    """
    if path.is_dir():
        raise SinkError(f"{path}: is a folder; give the name of a file with --output")
    make_folder(path.parent)
    try:
        with held():
            temporary, descriptor = create(path, "tmp")
            temporary.unlink()
            os.close(descriptor)
    except OSError as error:
        raise sink_error(path, error) from None


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary file to write to; rename it to ``path`` at the end, remove it on any exception.

    Raises:
        SinkError: in place of an OSError, from the body or from the renaming; or the file exists, and is not to be
            overwritten.
    """
    made: tuple[Path, int] | None = None
    try:
        with held():
            made = create(path, "tmp")
        yield made[0]
        try:
            give_name(made[0], path, overwrite=overwrite)
        except FileExistsError:
            raise exists_error(path) from None
    except BaseException as error:
        if made is not None:
            with contextlib.suppress(OSError):
                made[0].unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise sink_error(path, error) from None
        raise
    finally:
        if made is not None:
            os.close(made[1])


def write_bytes(path: Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write a file whole.

    Raises:
        SinkError: unwritable folder, full disk, or it exists and is not to be overwritten; nothing is left of the
            file, and an older one is untouched.
    """
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, document: Any, *, overwrite: bool = True) -> None:
    """Write a JSON document whole; errors as :func:`write_bytes`."""
    write_bytes(
        path, json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace"), overwrite=overwrite
    )


def write_image(path: Path, image: NDArray[np.uint8], *, overwrite: bool = True) -> None:
    """Encode a picture by its name's ending and write it whole.

    Args:
        path: ``.jpg`` (quality 95), ``.png`` or another ending of :data:`IMAGE_ENDINGS`.
        image: uint8, BGR [H, W, 3] or gray [H, W].
        overwrite: replace a file that is there.

    Raises:
        SinkError: another ending; OpenCV cannot encode it; unwritable folder; full disk; it exists and is not to
            be overwritten.
    """
    import cv2

    if path.suffix.lower() not in IMAGE_ENDINGS:
        raise SinkError(
            f"{path}: pictures are written as {', '.join(IMAGE_ENDINGS)}; give it one of these endings"
        )
    try:
        done, data = cv2.imencode(path.suffix, image)
    except cv2.error:
        done = False
    if not done:
        height, width = image.shape[:2]
        raise SinkError(f"{path}: OpenCV cannot encode {width}x{height} pixels as {path.suffix}")
    write_bytes(path, data.tobytes(), overwrite=overwrite)
