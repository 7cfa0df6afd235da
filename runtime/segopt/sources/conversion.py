"""From decoded video frames to pictures as a viewer sees them: upright, with square pixels, in BT.709 colors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any, cast

import av
from av.error import FFmpegError
from av.video.reformatter import ColorPrimaries, ColorTrc, VideoReformatter

from segopt.frame import Frame
from segopt.sources.orientation import UPRIGHT, Orientation, orientation_of

_UNSPECIFIED, _BT709, _BT2020_PRIMARIES = 2, 1, 9
_BT709_MATRIX = "ITU709"
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer functions, by their number in ITU-T H.273."""

_HD_WIDTH, _HD_HEIGHT = 1280, 576
"""Frames that are as wide, or higher, are HD. Untagged ones are taken for BT.709 then, as players do."""

_WIDEST_PIXEL = 8
"""A pixel that is wider than so many of its heights, or the reverse, is a broken tag."""

Note = Callable[[str], None]


class Converter:
    """Makes BGR pictures of one stream's frames, each by its own tags.

    A plain frame (progressive, square pixels, SDR) is one call of libswscale. What else there is to do, libswscale
    does in the same call; only deinterlacing takes a filter, which holds back one frame.
    """

    def __init__(self, pixel_aspect: Fraction | None, note: Note) -> None:
        """Take the stream's pixel aspect (width over height; None is unknown), and where to say what was done."""
        self._aspect = pixel_aspect if pixel_aspect and _is_sane(pixel_aspect) else Fraction(1)
        self._note = note
        self._said: set[str] = set()
        self._size: tuple[int, int] | None = None
        self._form: tuple[int, int, int] | None = None
        self._orientation = UPRIGHT
        # One for all HDR frames: its table takes seconds to make.
        self._scaler = VideoReformatter()
        self._deinterlacer: _Deinterlacer | None = None
        if self._aspect != 1:
            note(f"its pixels are not square ({self._aspect}): frames are stretched to their true shape")

    def frames(self, decoded: Iterator[Any]) -> Iterator[Any]:
        """The frames of a stream, progressive: interlaced ones are deinterlaced."""
        for frame in decoded:
            if self._deinterlacer is None and getattr(frame, "interlaced_frame", False):
                self._deinterlacer = _Deinterlacer()
                self._note("interlaced frames are deinterlaced")
            if self._deinterlacer is None:
                yield frame
            else:
                yield from self._deinterlacer.push(frame)
        if self._deinterlacer is not None:
            yield from self._deinterlacer.flush()

    def picture(self, frame: Any) -> Frame:
        """A frame as BGR uint8 [H, W, 3], upright."""
        options: dict[str, Any] = {"format": "bgr24"}
        reformat = frame.reformat
        if frame.colorspace == _UNSPECIFIED and _is_hd(frame.width, frame.height):
            options["src_colorspace"] = _BT709_MATRIX
        if self._aspect > 1:
            options["width"] = max(1, round(frame.width * self._aspect))
        elif self._aspect < 1:
            options["height"] = max(1, round(frame.height / self._aspect))
        if frame.color_trc in _HDR or frame.color_primaries == _BT2020_PRIMARIES:
            self._say_once(frame.color_trc)
            # Colorimetric: white of 203 cd/m2 is white, what is brighter is clipped, as an SDR camera does.
            options |= {"dst_color_trc": ColorTrc.IEC61966_2_1, "dst_color_primaries": ColorPrimaries.BT709}
            reformat = partial(self._scaler.reformat, frame)
        image = reformat(**options).to_ndarray()
        picture = self._orientation_of(frame).apply(cast(Frame, image))
        self._watch_size(picture)
        return picture

    def _orientation_of(self, frame: Any) -> Orientation:
        # PyAV ties a frame to its side data in a circle, which keeps its memory until the next garbage collection:
        # at 1080p that cost a third of the frame rate. What turns midway turns by an angle, too.
        form = (getattr(frame, "rotation", 0), frame.width, frame.height)
        if form != self._form:
            self._form, self._orientation = form, orientation_of(frame)
        return self._orientation

    def _watch_size(self, picture: Frame) -> None:
        height, width = picture.shape[:2]
        if self._size is None:
            self._size = (width, height)
        elif self._size != (width, height) and "size" not in self._said:
            self._said.add("size")
            first = f"{self._size[0]}x{self._size[1]}"
            self._note(f"frames change from {first} to {width}x{height}; a video made of them stays {first}")

    def _say_once(self, transfer: int) -> None:
        kind = f"HDR ({_HDR[transfer]})" if transfer in _HDR else "wide-gamut (BT.2020)"
        if kind not in self._said:
            self._said.add(kind)
            self._note(f"{kind} video is converted to SDR (BT.709); what is brighter than white is clipped")


class _Deinterlacer:
    """FFmpeg's bwdif, which leaves progressive frames as they are; made anew when the frames' form changes."""

    def __init__(self) -> None:
        self._graph: Any = None
        self._form: tuple[Any, ...] = ()

    def push(self, frame: Any) -> Iterator[Any]:
        form = (frame.width, frame.height, frame.format.name, frame.time_base)
        if form != self._form:
            yield from self.flush()
            self._graph, self._form = _deinterlacing(*form), form
        self._graph.vpush(frame)
        yield from self._ready()

    def flush(self) -> Iterator[Any]:
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._ready()
            self._graph = None

    def _ready(self) -> Iterator[Any]:
        while True:
            try:
                yield self._graph.vpull()
            except (BlockingIOError, EOFError, FFmpegError):
                return


def _deinterlacing(width: int, height: int, pixels: str, tick: Fraction | None) -> Any:
    graph = av.filter.Graph()
    nodes = [
        graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(pixels), time_base=tick or Fraction(1, av.time_base)
        ),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph


def _is_hd(width: int, height: int) -> bool:
    return width >= _HD_WIDTH or height > _HD_HEIGHT


def _is_sane(aspect: Fraction) -> bool:
    return Fraction(1, _WIDEST_PIXEL) <= aspect <= _WIDEST_PIXEL
