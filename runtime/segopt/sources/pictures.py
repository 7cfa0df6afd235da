"""Pictures as a source: one file, a folder, or the matches of a glob."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from segopt.errors import SourceBrokenError, SourceError
from segopt.frame import Frame
from segopt.sources.base import Source, SourceFrame, frames_to_expect

# fmt: off
PICTURE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".pgm", ".ppm",
    ".pbm", ".pnm", ".jp2", ".avif",
})
# fmt: on

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n", b"IEND"


def read_picture(path: Path) -> Frame:
    """Read a picture as BGR uint8 [H, W, 3].

    Gray becomes three equal channels, alpha is dropped, 16 bits are scaled to 8, EXIF orientation is applied.

    Raises:
        SourceError: the file is missing, empty, cut short, or no picture that OpenCV knows.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check the name and your rights") from None
    if not data:
        raise SourceError(f"{path}: the file is empty; copy it again")
    if _cut_short(data):
        raise SourceError(f"{path}: the picture is cut short; copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise SourceError(f"{path}: is not a picture that OpenCV can read; convert it to PNG or JPEG")
    return cast(Frame, image)


def _cut_short(data: bytes) -> bool:
    # OpenCV decodes such files without an error and fills what is missing with gray (JPEG) or black (PNG).
    if data.startswith(_JPEG_START):
        return data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN)
    return data.startswith(_PNG_START) and _PNG_END not in data


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts ``frame10`` after ``frame9``."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """A stem for each path, with ``-2``, ``-3``… where several files share one.

    >>> unique_stems([Path("a.jpg"), Path("a.png"), Path("b.png")])
    ['a', 'a-2', 'b']
    """
    taken = {path.stem for path in paths}
    seen: set[str] = set()
    stems = []
    for path in paths:
        stem, number = path.stem, 2
        if stem in seen:
            while f"{path.stem}-{number}" in taken:
                number += 1
            stem = f"{path.stem}-{number}"
            taken.add(stem)
        seen.add(stem)
        stems.append(stem)
    return stems


class PictureSource(Source):
    """Pictures in a given order. One that cannot be read is skipped and reported at the end."""

    kind = "pictures"

    def __init__(
        self, name: str, paths: Sequence[Path], *, stride: int = 1, max_frames: int | None = None
    ) -> None:
        """Take the pictures at ``paths``, all of them or each ``stride``-th, ``max_frames`` at most.

        Raises:
            SourceError: there is one picture and it cannot be read.
        """
        super().__init__()
        self.name = name
        self.paths = self.files = tuple(paths)
        self.stems = tuple(unique_stems(self.paths))
        self.frame_count = frames_to_expect(len(self.paths), stride, max_frames)
        self._stride = stride
        self._only = read_picture(self.paths[0]) if len(self.paths) == 1 else None

    def _frames(self) -> Iterator[SourceFrame]:
        unread: list[SourceError] = []
        for index in range(0, len(self.paths), self._stride)[: self.frame_count]:
            path = self.paths[index]
            try:
                image = self._only if self._only is not None else read_picture(path)
            except SourceError as error:
                unread.append(error)
                continue
            yield SourceFrame(index, image, self.stems[index], path.name)
        if unread:
            others = f" (and {len(unread) - 1} more like it)" if len(unread) > 1 else ""
            raise SourceBrokenError(
                f"{len(unread)} of {self.frame_count} pictures could not be read and were left out: "
                f"{unread[0]}{others}"
            )
