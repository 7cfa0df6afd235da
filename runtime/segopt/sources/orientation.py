"""Which way up a stored picture is to be shown, and turning it so."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, cast

import cv2

from segopt.frame import Frame

_MATRIX = struct.Struct("=9i")


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which a picture can lie: exchange x and y first, then mirror."""

    transpose: bool = False
    """Rows become columns."""
    mirror: bool = False
    """Left and right are exchanged, after the transposition."""
    flip: bool = False
    """Top and bottom are exchanged, after the transposition."""

    @classmethod
    def of_matrix(cls, data: bytes) -> Orientation:
        """Read a display matrix as libavutil holds it: nine int32 of this machine, ``a b u c d v x y w``.

        A stored point (p, q) is shown at (a p + c q, b p + d q). One of an odd angle is rounded to a right angle.
        """
        if len(data) < _MATRIX.size:
            return UPRIGHT
        a, b, _, c, d, *_ = _MATRIX.unpack_from(data)
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def of_turn(cls, degrees: int) -> Orientation:
        """A picture that is to be turned counterclockwise."""
        return _TURNS.get(round(degrees / 90) % 4, UPRIGHT)

    def apply(self, image: Frame) -> Frame:
        """Turn and mirror an image, uint8 [H, W, 3]; the upright one is given back as it is."""
        turned: Any = image
        if self.transpose:
            turned = cv2.transpose(turned)
        if self.mirror or self.flip:
            # 1 exchanges left and right, 0 top and bottom, -1 both.
            turned = cv2.flip(turned, (1 if self.mirror else 0) if self.mirror != self.flip else -1)
        return cast(Frame, turned)


UPRIGHT = Orientation()
_TURNS = {
    1: Orientation(transpose=True, flip=True),
    2: Orientation(mirror=True, flip=True),
    3: Orientation(transpose=True, mirror=True),
}


def orientation_of(frame: Any) -> Orientation:
    """How a decoded ``av.VideoFrame`` is to be shown: by its display matrix."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV 18 cannot list side data that is newer than itself, as EXIF of FFmpeg 8 is.
        return Orientation.of_turn(getattr(frame, "rotation", 0))
    return UPRIGHT if matrix is None else Orientation.of_matrix(bytes(matrix))


def avif_orientation(data: bytes) -> Orientation:
    """How the primary picture of an AVIF or HEIF file is to be shown: by its ``irot`` and ``imir`` properties.

    EXIF says nothing there, and OpenCV's decoder applies neither.
    """
    boxes = _boxes(data)
    meta = boxes.get(b"meta", b"")[4:]
    inner = _boxes(meta)
    properties = _boxes(inner.get(b"iprp", b""))
    try:
        primary = _item_id(inner[b"pitm"])
        order = _associations(properties[b"ipma"], primary)
        containers = list(_each_box(properties[b"ipco"]))
        found = [containers[index - 1] for index in order if 0 < index <= len(containers)]
    except (KeyError, struct.error, IndexError):
        return UPRIGHT
    orientation = UPRIGHT
    for kind, body in found:
        if kind == b"irot" and body:
            orientation = _then(orientation, Orientation.of_turn(90 * (body[0] & 3)))
        elif kind == b"imir" and body:
            orientation = _then(orientation, Orientation(mirror=bool(body[0] & 1), flip=not body[0] & 1))
    return orientation


def _then(first: Orientation, second: Orientation) -> Orientation:
    """The one step that does both."""
    mirror, flip = (first.flip, first.mirror) if second.transpose else (first.mirror, first.flip)
    return Orientation(first.transpose != second.transpose, mirror != second.mirror, flip != second.flip)


def _each_box(data: bytes) -> Any:
    """Type and body of each ISO base media box, in order, up to the first that is broken."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        end = len(data) if size == 0 else at + size
        if size and size < head:
            return
        yield kind, data[at + head : end]
        at = end


def _boxes(data: bytes) -> dict[bytes, bytes]:
    return dict(_each_box(data))


def _item_id(pitm: bytes) -> int:
    (number,) = struct.unpack_from(">I" if pitm[0] else ">H", pitm, 4)
    return int(number)


def _associations(ipma: bytes, item: int) -> list[int]:
    """Numbers, from 1, of the properties of an item, in the order in which they are applied."""
    version, flags = ipma[0], ipma[3]
    (entries,) = struct.unpack_from(">I", ipma, 4)
    at = 8
    for _ in range(entries):
        (owner,) = struct.unpack_from(">I" if version else ">H", ipma, at)
        at += 4 if version else 2
        count = ipma[at]
        at += 1
        wide = flags & 1
        form = f">{count}{'H' if wide else 'B'}"
        if owner == item:
            return [value & (0x7FFF if wide else 0x7F) for value in struct.unpack_from(form, ipma, at)]
        at += struct.calcsize(form)
    return []
