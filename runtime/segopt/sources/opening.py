"""From what a user typed to a source."""

from __future__ import annotations

import contextlib
import difflib
import glob
import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2

from segopt.errors import SourceError, UsageError
from segopt.sources.base import Source
from segopt.sources.pictures import PICTURE_SUFFIXES, PictureSource, natural_key, opencv_name
from segopt.sources.reconnect import Reconnect, ReconnectingSource

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv",
    ".3gp", ".ogv", ".mjpeg", ".h264", ".h265", ".gif",
})
# fmt: on
_URL = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_MOST = 2**31 - 1
_DEVICE = re.compile(r"^(?:/dev/video)?(\d{1,3})$")


def open_source(
    spec: str | os.PathLike[str] | int,
    *,
    stride: int = 1,
    max_frames: int | None = None,
    timeout: float = 10.0,
    reconnect: Reconnect | None = None,
) -> Source:
    """Open a picture, folder, glob, video file, camera, URL or GStreamer pipeline.

    Args:
        spec: ``street.jpg``, ``pictures/``, ``'pictures/*.png'``, ``drive.mp4``, ``0`` (camera index, as text or
            number), ``rtsp://host/path``, ``https://host/file.mp4``, ``'v4l2src ! videoconvert ! appsink'``.
        stride: take each ``stride``-th frame, from the first.
        max_frames: stop after so many frames were given.
        timeout: seconds that a network source may take to open, or between packets.
        reconnect: open a live source again when it breaks off; None takes its end for the end.

    Raises:
        SourceError: it does not exist, is empty, or is neither a picture nor a video.
        UsageError: ``stride`` or ``max_frames`` is below 1.
    """
    check_counts(stride, max_frames)
    spec = str(spec) if isinstance(spec, int) else os.fspath(spec)
    # What is there under this name is meant, whatever else the name could mean.
    is_path = os.path.lexists(spec) and not _DEVICE.match(spec)
    opened = None if is_path else _open_stream(spec, stride, max_frames, timeout)
    if opened is None:
        return _open_path(spec.removeprefix("file://"), stride, max_frames)
    label, source, reopen = opened
    if reconnect is None or not source.live:
        return source
    return ReconnectingSource(label, source, reopen, reconnect, stride=stride, max_frames=max_frames)


def _open_stream(
    spec: str, stride: int, max_frames: int | None, timeout: float
) -> tuple[str, Source, Callable[[], Source]] | None:
    """What messages call it, the source, and how to open it again; None for a path."""
    if _URL.match(spec) and not spec.lower().startswith("file://") and " ! " not in spec:
        from segopt.sources.video import VideoSource, without_password

        video = VideoSource(spec, stride=stride, max_frames=max_frames, timeout=timeout)
        return without_password(spec), video, lambda: VideoSource(spec, stride=stride, timeout=timeout)
    device = _DEVICE.match(spec)
    if " ! " in spec or device:
        from segopt.sources.capture import CaptureSource

        name = int(device[1]) if device else spec
        capture = CaptureSource(name, stride=stride, max_frames=max_frames)
        return capture.label, capture, lambda: CaptureSource(name, stride=stride)
    return None


def check_counts(stride: int, max_frames: int | None) -> None:
    """Raise a UsageError for a stride or limit below 1."""
    for name, value in (("--stride", stride), ("--max-frames", max_frames)):
        if value is not None and not 1 <= value <= _MOST:
            raise UsageError(f"{name} {str(value)[:20]}: must be from 1 to {_MOST}")


def _open_path(spec: str, stride: int, max_frames: int | None) -> Source:
    if not spec:
        raise SourceError("the source is empty; name a picture, folder, video, camera index or URL")
    path = Path(spec)
    try:
        if spec.startswith("~") and not path.exists():
            with contextlib.suppress(RuntimeError):  # No such user.
                path = path.expanduser()
        exists, folder, plain = path.exists(), path.is_dir(), path.is_file()
    except OSError as error:
        raise SourceError(f"{spec}: cannot be read ({error.strerror}); check name and permissions") from None
    if not exists:
        if glob.has_magic(spec):
            return _open_glob(spec, stride, max_frames)
        raise SourceError(f"{spec}: does not exist; {near_names(path)}")
    if not folder and not plain:
        raise SourceError(f"{spec}: is a pipe, socket or device; name a file, a camera by its number, or a URL")
    if folder:
        return _open_folder(path, stride, max_frames)
    return _open_file(path, stride, max_frames)


def _open_file(path: Path, stride: int, max_frames: int | None) -> Source:
    if path.is_file() and path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty; copy it again")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return PictureSource(path.stem, [path], stride=stride, max_frames=max_frames)
    if path.suffix.lower() not in VIDEO_SUFFIXES and path.is_file() and _is_picture(path):
        return PictureSource(path.stem, [path], stride=stride, max_frames=max_frames)
    from segopt.sources.video import VideoSource

    return VideoSource(str(path), stride=stride, max_frames=max_frames)


def _is_picture(path: Path) -> bool:
    with opencv_name(path) as name:
        return bool(cv2.haveImageReader(name))


def _open_folder(folder: Path, stride: int, max_frames: int | None) -> Source:
    try:
        files = sorted((p for p in folder.iterdir() if p.is_file()), key=natural_key)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from None
    pictures = _pictures(files)
    if not pictures:
        videos = [p for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
        fix = f"name one of its videos, as {videos[0]}" if videos else "give a folder of .jpg, .png or such files"
        raise SourceError(f"{folder}: has no pictures in it; {fix}")
    return PictureSource(folder.resolve().name or "root", pictures, stride=stride, max_frames=max_frames)


def _open_glob(pattern: str, stride: int, max_frames: int | None) -> Source:
    files = sorted((Path(p) for p in glob.glob(pattern, recursive=True) if Path(p).is_file()), key=natural_key)  # noqa: PTH207
    if not files:
        raise SourceError(f"{pattern}: matches no file; check the pattern, and quote it for the shell")
    pictures = _pictures(files)
    if pictures:
        name = pictures[0].resolve().parent.name or "pictures"
        return PictureSource(name, pictures, stride=stride, max_frames=max_frames)
    if len(files) == 1:
        return _open_file(files[0], stride, max_frames)
    raise SourceError(f"{pattern}: matches {len(files)} files and no picture; name one video at a time")


def _pictures(files: list[Path]) -> list[Path]:
    return [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")]


def near_names(path: Path) -> str:
    """What to say of a path that does not exist: the name that was probably meant."""
    parent = path.parent
    if not parent.is_dir():
        return f"there is no folder {parent}"
    try:
        names = [entry.name for entry in parent.iterdir()]
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"did you mean {parent / near[0]}?" if near else "check the name"
