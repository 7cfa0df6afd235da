"""A fragmented MP4, which survives anything, made into one with its index first, which starts playing at once."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av

from segopt.files.reserved import ReservedFile, WrittenPart

FRAGMENTED = {
    # The first fragment's times go into the header: where B-frames reorder, it needs them.
    "movflags": "+delay_moov+default_base_moof+skip_trailer",
    "frag_duration": "1000000",
    "flush_packets": "1",
}
"""Options of libavformat's MP4 muxer: a fragment is on the disk when one second of video is complete."""

_BLOCK = 1 << 20
_BOX = 8
_LARGE_BOX = 16


def remux(fragmented: WrittenPart, target: ReservedFile, last_duration: Fraction | None = None) -> int:
    """Copy every packet into a plain MP4 with its index first.

    ``target`` may be the file that is read, rewound: without the fragments' headers each packet moves towards the
    front, and is never written over one that was not read.

    Args:
        fragmented: whole fragments, from their start.
        target: empty; it is not committed.
        last_duration: seconds that the last frame is shown. Where B-frames reorder, fragments do not say.

    Returns:
        Video packets that were copied.

    Raises:
        FFmpegError, OSError: it cannot be read or written.
    """
    copied = 0
    with (
        av.open(fragmented, mode="r", format="mp4") as source,
        av.open(
            target,
            mode="w",
            format="mp4",
            options={"movflags": "+faststart"},
            # To put the index first, the MP4 muxer opens the file a second time and moves the data.
            io_open=lambda _url, _flags, _options: target.reader(),
        ) as copy,
    ):
        streams: dict[int, Any] = {
            stream.index: copy.add_stream_from_template(stream) for stream in source.streams
        }
        for stream in streams.values():
            if stream.type == "video":
                # What the demuxer estimates; the muxer counts.
                stream.codec_context.bit_rate = 0
        waiting: Any = None
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                copied += 1
                if waiting is not None:
                    # Only the end of the whole depends on it: the muxer counts from one decoding time to the next.
                    if last_duration is not None:
                        waiting.duration = round(last_duration / waiting.time_base)
                    copy.mux(waiting)
                waiting = packet
            packet.stream = streams[packet.stream.index]
            if packet is not waiting:
                copy.mux(packet)
        if waiting is not None:
            copy.mux(waiting)
    _clear_average(target)
    return copied


def whole_fragments(path: Path) -> int:
    """Where the last whole fragment of a fragmented MP4 ends; 0 where there is none. What follows is ignored."""
    end = 0
    with path.open("rb") as file:
        size = _used(file)
        position, last = 0, b""
        while position + _BOX <= size:
            length, kind = _box(file, position)
            if length < _BOX or position + length > size or kind not in (b"ftyp", b"moov", b"moof", b"mdat"):
                break
            position += length
            if (last, kind) == (b"moof", b"mdat"):
                end = position
            last = kind
    return end


def _used(file: BinaryIO) -> int:
    """One past the last byte that is not zero. Zeros are room that was kept, or blocks that a power cut lost."""
    end = file.seek(0, io.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        file.seek(start)
        data = file.read(end - start).rstrip(b"\0")
        if data:
            return start + len(data)
        end = start
    return 0


def _box(file: BinaryIO, position: int) -> tuple[int, bytes]:
    """Length in bytes and type of the box that begins there."""
    file.seek(position)
    head = file.read(_LARGE_BOX)
    length = int.from_bytes(head[:4], "big")
    return (int.from_bytes(head[8:], "big") if length == 1 else length), head[4:8]


def _clear_average(file: ReservedFile) -> None:
    """Set the average bit rate of the video's BitRateBox to 0, as the encoder's own stream has it with a constant
    quality; the muxer has put in what it counted."""
    head = file.reader()
    try:
        data = head.read(1 << 12)
    finally:
        head.close()
    box = data.find(b"btrt")
    if 0 < box < data.find(b"stts"):
        position = file.tell()
        file.seek(box + 12)
        file.write(bytes(4))
        file.seek(position)
