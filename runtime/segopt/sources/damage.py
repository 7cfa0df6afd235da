"""Pictures that are damaged: decoders give an image for most of them, with gray or colored noise in it.

They are found as far as their format lets anybody see. PNG and deflated TIFF have checksums. JPEG's codes
contradict themselves, which its decoder notices (:mod:`segopt.sources.codec_lines`). Plain pixels of BMP and
TIFF, and the data of WebP, JPEG 2000 and AVIF, carry nothing that a change would contradict: what is missing is
found, no more.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from typing import Any, BinaryIO

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_LEAST_FRAME = 16
"""Bytes of a frame of an animation: fewer than its chunks' own headers."""
_JP2_START, _JPC_START = b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"
_BMP_START = b"BM"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_JPEG_SCAN_END = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
"""The next marker behind coded data: neither a stuffed zero nor a restart."""
_SOS, _EOI = 0xDA, 0xD9
_BETWEEN_SCANS = frozenset({0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
"""Markers that may follow a scan: Huffman tables, a scan, quantization, lines, restart interval, comment, APPn."""
_TIFF_WIDTHS = {1: 1, 3: 2, 4: 4}
_LZW, _DEFLATE = 5, frozenset({8, 32946})
_TIFF_PLAIN_TAGS = frozenset({256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320})
"""Tags that FFmpeg knows. When it is to stop at errors, it stops at any other."""


class DamagedPictureError(ValueError):
    """What is wrong, in a few words."""


def intact(data: bytes) -> bytes:
    """The picture in a file's bytes: a JPEG without what follows it, and with the end marker that it may lack.

    Raises:
        DamagedPictureError: a part is missing or contradicts itself.
    """
    if data.startswith(_JPEG_START):
        return _intact_jpeg(data)
    if data.startswith(_PNG_START):
        _check_png(data)
    if data.startswith((_JP2_START, _JPC_START)) and not data.rstrip(b"\0\r\n").endswith(_JPEG_END):
        raise DamagedPictureError("it is cut short")
    if data.startswith(_BMP_START) and len(data) < _bmp_size(data):
        raise DamagedPictureError("it is cut short")
    if data.startswith(TIFF_STARTS[:2]):
        _check_tiff(data)
    return data


def _intact_jpeg(data: bytes) -> bytes:
    """Walk the segments. A phone's motion photo has a video behind the end, and a preview in a segment."""
    at, scans = 2, 0
    while True:
        marker = _JPEG_SCAN_END.match(data, at)
        if marker is None:
            if scans and at >= len(data):
                break
            raise DamagedPictureError("it is cut short" if len(data) - at < 4 else "its segments do not follow")
        kind, at = marker[1][0], marker.end()
        if kind == _EOI:
            data = data[:at]
            break
        if kind != 0x01:
            if at + 2 > len(data):
                raise DamagedPictureError("it is cut short")
            at += int.from_bytes(data[at : at + 2], "big")
        if at > len(data):
            raise DamagedPictureError("it is cut short")
        if kind == _SOS:
            scans += 1
            found = _JPEG_SCAN_END.search(data, at)
            at = len(data) if found is None else found.start()
            if found is not None and found[1][0] != _EOI and found[1][0] not in _BETWEEN_SCANS:
                raise DamagedPictureError("its data has a marker in the middle")
    if not scans:
        raise DamagedPictureError("it is cut short")
    if not data.endswith(_JPEG_END):
        data = data.rstrip(b"\xff") + _JPEG_END
    return data


def check_png_claims(file: BinaryIO, size: int) -> None:
    """Look at the headers of a PNG's chunks: decoders take memory for what these claim. Other files pass.

    Args:
        file: at its beginning.
        size: of the whole file, in bytes.

    Raises:
        DamagedPictureError: a chunk, or the number of frames (``acTL``), is more than the file can hold.
    """
    if file.read(len(_PNG_START)) != _PNG_START:
        return
    while len(head := file.read(12)) == 12 and head[4:8] != b"IEND":
        length, first = int.from_bytes(head[:4], "big"), int.from_bytes(head[8:], "big")
        if file.tell() + length > size:
            raise DamagedPictureError("it is cut short")
        if head[4:8] == b"acTL" and first > size // _LEAST_FRAME:
            raise DamagedPictureError(f"it claims {first} frames in {size} bytes")
        file.seek(length, os.SEEK_CUR)


def _check_png(data: bytes) -> None:
    """Walk the chunks up to the end; those that hold pixels have the checksum that they say."""
    check_png_claims(io.BytesIO(data), len(data))
    at = len(_PNG_START)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        needed = kind[:1].isupper() or kind == b"fdAT"
        if needed and zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise DamagedPictureError("a checksum is wrong")
        if kind == b"IEND":
            return
        at = end + 4
    raise DamagedPictureError("it is cut short")


def _check_tiff(data: bytes) -> None:
    """The first page: its strips or tiles are there, and compressed ones decode."""
    try:
        tags = _tiff_tags(data)
    except (struct.error, IndexError):
        raise DamagedPictureError("its table is cut short") from None
    strips = [
        (offset, offset + size)
        for offsets, sizes in ((273, 279), (324, 325))
        for offset, size in zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)
    ]
    if any(end > len(data) for _, end in strips):
        raise DamagedPictureError("it is cut short")
    compression = tags.get(259, (1,))[0]
    if compression in _DEFLATE:
        if not all(_inflates(data[start:end]) for start, end in strips):
            raise DamagedPictureError("its data does not decode")
    elif compression == _LZW and tags.keys() <= _TIFF_PLAIN_TAGS and tags.get(284, (1,))[0] == 1:
        rgb_or_gray = set(tags.get(258, ())) == {8} and tags.get(262, (9,))[0] in (0, 1, 2)
        if rgb_or_gray and not _decodes("tiff", data):
            raise DamagedPictureError("its data does not decode")


def _inflates(strip: bytes) -> bool:
    """Deflated data that ends, and whose checksum is right."""
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(strip)
    except zlib.error:
        return False
    return inflater.eof


def _tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    tags = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", data, entry)
        if kind not in _TIFF_WIDTHS:
            continue
        width = _TIFF_WIDTHS[kind]
        place = entry + 8
        if length * width > 4:
            (place,) = struct.unpack_from(f"{order}I", data, place)
        if place + length * width > len(data):
            raise IndexError
        tags[tag] = struct.unpack_from(f"{order}{length}{'_BH_I'[width]}", data, place)
    return tags


def _bmp_size(data: bytes) -> int:
    """Bytes that a BMP without compression needs; 0 where it is compressed or of an old form."""
    if len(data) < 34 or int.from_bytes(data[14:18], "little") < 40:
        return 0
    start: int
    width: int
    height: int
    bits: int
    start, _, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if compression not in (0, 3):
        return 0
    return start + (abs(width) * bits + 31) // 32 * 4 * abs(height)


def _decodes(decoder: str, data: bytes) -> bool:
    """FFmpeg decodes it without an error. What FFmpeg does not know is not taken for damage.

    Its decoder tells of errors by a status; libtiff, which OpenCV uses, tells only OpenCV's log, and goes on.
    """
    import av
    from av.error import InvalidDataError

    context: Any = av.CodecContext.create(decoder, "r")
    context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
    context.thread_count = 1
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except InvalidDataError:
        return False
    except (av.error.FFmpegError, EOFError, ValueError):
        return True
    return not any(frame.is_corrupt for frame in frames)
