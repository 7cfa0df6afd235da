"""Pictures as a source: one file, a folder, or the matches of a glob."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from segopt.errors import SourceBrokenError, SourceError
from segopt.frame import Frame
from segopt.pixel_limit import VARIABLE, max_pixels, too_large
from segopt.sources.base import Source, SourceFrame, frames_to_expect
from segopt.sources.codec_lines import call_listening, silence_opencv
from segopt.sources.damage import TIFF_STARTS, DamagedPictureError, check_png_claims, intact
from segopt.sources.orientation import avif_orientation

# fmt: off
PICTURE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".pgm", ".ppm",
    ".pbm", ".pnm", ".jp2", ".avif",
})
# fmt: on

_SUFFIXES_OF_SEVERAL = frozenset({".png", ".tif", ".tiff", ".webp", ".avif"})
_PAGES_AT_ONCE = 64
"""Pictures of one file that are decoded together. Each time, an animation is decoded from its start."""

# What OpenCV's decoders have to say is said in this program's own words.
if "OPENCV_LOG_LEVEL" not in os.environ:
    silence_opencv()

_AVIF_START = b"ftyp"
_NEARLY_BLACK = 15
"""Brightest value, of 255, that 12 bits give in a picture of 16."""


def read_picture(path: Path, note: Callable[[str], None] | None = None) -> Frame:
    """Read a picture as BGR uint8 [H, W, 3]; of several in a file, the first.

    Gray becomes three equal channels, alpha is dropped, 16 bits are scaled to 8; the picture is turned upright.
    Of 16 bits that hold 12 or fewer, as cameras write, those are scaled, and ``note`` gets a line that says so.

    Raises:
        SourceError: the file is missing, empty, damaged, too large, or no picture that OpenCV knows.
    """
    return decode_picture(_bytes_of(path), path, note)


def decode_picture(data: bytes, source: object, note: Callable[[str], None] | None = None) -> Frame:
    """The bytes of a picture's file as a frame, see :func:`read_picture`; ``source`` names it in messages.

    Raises:
        SourceError: they are none, damaged, too large, or no picture that OpenCV knows.
    """
    data = _checked(data, source)
    try:
        image, damage = call_listening(lambda: cv2.imdecode(np.frombuffer(data, np.uint8), _flags(data)))
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE_PIXELS" in str(error):
            raise SourceError(
                f"{source}: has more pixels than the limit of {max_pixels()}; set {VARIABLE} to more if you "
                "trust it"
            ) from None
        image = damage = None
    if image is not None and (trouble := too_large(*image.shape[:2])) is not None:
        raise SourceError(f"{source}: {trouble}")
    if damage is not None:
        raise SourceError(f"{source}: the picture is damaged ({damage}); copy it again")
    if image is None:
        raise SourceError(f"{source}: is not a picture that OpenCV can read; convert it to PNG or JPEG")
    if image.max(initial=0) <= _NEARLY_BLACK:
        image, bits = _scaled_from(data, cast(Frame, image))
        if bits and note is not None:
            note(f"{source}: uses {bits} of its 16 bits; those are scaled to 8")
    return _upright(cast(Frame, image), data)


def _scaled_from(data: bytes, image: Frame) -> tuple[Frame, int]:
    """A picture that came out nearly black, scaled by the bits that its 16 hold; 0 where it is so dark."""
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), _flags(data) | cv2.IMREAD_ANYDEPTH)
    if deep is None or deep.dtype != np.uint16 or not deep.any():
        return image, 0
    bits = next(bits for bits in (8, 10, 12, 16) if deep.max() < 1 << bits)
    if bits == 16:
        return image, 0
    return (deep.astype(np.uint16) >> (bits - 8)).astype(np.uint8), bits


def read_pages(path: Path, start: int, count: int) -> list[Frame]:
    """Read ``count`` pictures of a file that holds several, from number ``start`` on; form and errors as one's."""
    data = _read_whole(path)
    # OpenCV 5.0 gives the first frames of a WebP or PNG animation whatever the start.
    before = 0 if data.startswith(TIFF_STARTS) else start
    try:
        with opencv_name(path) as name:
            (done, images), _ = call_listening(
                lambda: cv2.imreadmulti(name, start - before, before + count, flags=_flags(data))
            )
    except cv2.error:
        done, images = False, ()
    if not done or len(images) != before + count:
        raise SourceError(f"{path}: its pictures {start + 1} to {start + count} cannot be read; copy it again")
    return [_upright(cast(Frame, image), data) for image in images[before:]]


def count_pages(path: Path) -> int:
    """How many pictures a file holds: frames of an animation, pages of a TIFF. One that cannot be read has one."""
    if path.suffix.lower() not in _SUFFIXES_OF_SEVERAL:
        return 1
    try:
        with path.open("rb") as file:
            check_png_claims(file, path.stat().st_size)
        with opencv_name(path) as name:
            count, _ = call_listening(lambda: cv2.imcount(name))
        return max(1, int(count))
    except (cv2.error, OSError, DamagedPictureError):
        return 1


@contextlib.contextmanager
def opencv_name(path: Path) -> Iterator[str]:
    """A name by which OpenCV opens a file. It crashes on a text that is no UTF-8, as names of files may be."""
    try:
        name = str(path)
        name.encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield name


def _read_whole(path: Path) -> bytes:
    return _checked(_bytes_of(path), path)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check name and permissions") from None


def _checked(data: bytes, source: object) -> bytes:
    if not data:
        raise SourceError(f"{source}: the file is empty; copy it again")
    try:
        return intact(data)
    except DamagedPictureError as error:
        raise SourceError(f"{source}: the picture is damaged ({error}); copy it again") from None


def _is_avif(data: bytes) -> bool:
    return data[4:8] == _AVIF_START


def _flags(data: bytes) -> int:
    # OpenCV turns all but AVIF; should a later one do so, it must not be done twice.
    return cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if _is_avif(data) else 0)


def _upright(image: Frame, data: bytes) -> Frame:
    return avif_orientation(data).apply(image) if _is_avif(data) else image


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
    numbers: dict[str, int] = {}
    stems = []
    for path in paths:
        stem = path.stem
        number = numbers.get(stem, 1)
        if number > 1:
            while f"{stem}-{number}" in taken:
                number += 1
            taken.add(f"{stem}-{number}")
        stems.append(stem if number == 1 else f"{stem}-{number}")
        numbers[stem] = number + 1
    return stems


class PictureSource(Source):
    """Pictures in a given order. One that cannot be read is skipped and reported at the end.

    A file that holds several (an animation, a TIFF of several pages) gives them all.
    """

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
        self.files = tuple(paths)
        counts = [count_pages(path) for path in paths]
        self.paths = tuple(path for path, count in zip(paths, counts, strict=True) for _ in range(count))
        """The file of each picture; one that holds several comes as often."""
        self.stems = tuple(unique_stems(self.paths))
        self.frame_count = frames_to_expect(len(self.paths), stride, max_frames)
        self._pages = tuple((page, count) for count in counts for page in range(count))
        self._stride = stride
        self._decoded: tuple[Path, int, list[Frame]] | None = None
        self._only = read_picture(self.paths[0], self._note) if len(self.paths) == 1 else None
        if len(paths) == 1 and len(self.paths) > 1:
            self._read(0)

    def _note(self, text: str) -> None:
        if not self.notes:
            self.notes.append(f"{text}; so with others like it" if len(self.paths) > 1 else text)

    def _read(self, index: int) -> Frame:
        if self._only is not None:
            return self._only
        path, (page, count) = self.paths[index], self._pages[index]
        if count == 1:
            return read_picture(path, self._note)
        start = page - page % _PAGES_AT_ONCE
        if self._decoded is None or self._decoded[:2] != (path, start):
            self._decoded = None
            self._decoded = (path, start, read_pages(path, start, min(_PAGES_AT_ONCE, count - start)))
        return self._decoded[2][page - start]

    def _frames(self) -> Iterator[SourceFrame]:
        unread: list[SourceError] = []
        for index in range(0, len(self.paths), self._stride)[: self.frame_count]:
            path = self.paths[index]
            try:
                image = self._read(index)
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
