"""Writing H.264 video that any browser plays and that ends well whatever happens."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError

from segopt.errors import SinkError
from segopt.files.atomic import sink_error
from segopt.files.reserved import ReservedFile
from segopt.frame import Frame
from segopt.sinks.audio import AudioTrack
from segopt.sinks.remux import FRAGMENTED, remux
from segopt.sources.codec_lines import call_listening
from segopt.sources.sound import Sound

HARDWARE = ("h264_nvenc", "h264_v4l2m2m", "h264_videotoolbox", "h264_mf")
"""H.264 encoders of libavcodec that leave the processor to others, in the order in which they are tried."""
SOFTWARE = ("libx264", "libopenh264")
"""Those that are tried where no hardware takes frames of this size."""

_OPTIONS = {
    # Against "veryfast" at 20: a third of the time, the same error within 6%, 1.1 to 1.5 of the bytes. With CABAC,
    # at 22, it had as many bytes and took half as long again.
    "libx264": {"preset": "ultrafast", "crf": "23", "x264-params": "no-deblock=0:deblock=0,0"},
    "h264_nvenc": {"preset": "p4", "rc": "vbr", "cq": "23", "b": "0"},
}
_HARDWARE_BITS = 0.12
"""A pixel and frame, for hardware that is told a rate and no quality."""

_INDEX_BYTES = 64
"""Upper bound of what the MP4 index needs for a frame: size, offset, chunk, time, composition offset, sync: 45."""

_RESERVE = 256 << 10
_BT709, _MPEG_RANGE = 1, 1

# MP4 keeps a track's ticks per second in 32 bits; beyond 10 MHz a long video's duration gets near the limits.
_FINEST_TICK = Fraction(1, 10_000_000)
_DEFAULT_TICK = Fraction(1, 90_000)


class VideoWriter:
    """An MP4 file with one H.264 stream: yuv420p, BT.709, index at the front; and the source's sound.

    The file has a temporary name until it is closed, and is written in fragments, so that it plays up to the last
    one should the process be killed. Frames keep to the constant rate as long as their times do,
    so that frame count, frame rate and duration are the source's own; a frame that is off the beat by more than a
    tick is written at its own time. Pictures of odd width or height gain one repeated column or row, since yuv420p
    has no odd sizes.

    On a full disk the file is completed in space that was reserved for that, under its final name, and
    :class:`SinkError` is raised once; after that the writer is closed.
    """

    def __init__(
        self,
        path: Path,
        *,
        rate: Fraction,
        tick: Fraction | None = None,
        sound: Sound | None = None,
        overwrite: bool = True,
    ) -> None:
        """Prepare to write; the file is made with the first frame.

        Args:
            path: where the video is to appear.
            rate: frames per second.
            tick: resolution of the times that will be given, in seconds.
            overwrite: replace a file that is there.
            sound: what is heard with the frames, on the clock of their times.

        Raises:
            SinkError: PyAV has no H.264 encoder.
        """
        self.path = path
        self._overwrite = overwrite
        self.frames = 0
        """Frames that are in the file, or on their way through the encoder."""
        self.notes: list[str] = []
        """Lines for a person: what could not be kept."""
        self._encoder = h264_encoder()
        self._step = 1 / rate
        self._tolerance = tick or Fraction(0)
        self._tick, self._on_beat = _time_base(self._step, tick)
        self._file: ReservedFile | None = None
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)
        self._first_time: Fraction | None = None
        self._last_pts = -1
        self._last_duration = 0
        self._durations: dict[int, int] = {}
        self._written = 0
        self._unwritten = 0
        """Bytes in the fragment that the muxer still holds."""
        self._end = Fraction(0)
        self._sound = sound
        self._audio: AudioTrack | None = None
        if sound is not None:
            sound.wanted = True
        self._closed = False

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: Frame, *, time: Fraction | None = None, duration: Fraction | None = None) -> None:
        """Append a frame.

        Args:
            image: BGR uint8 [H, W, 3]; one of another size than the first is scaled into it, with black borders
                where its shape is another one.
            time: seconds on any clock; None follows the rate.
            duration: seconds that it is shown; None is one over the rate.

        Raises:
            SinkError: unwritable folder or full disk. What was written until then plays.
        """
        if self._closed:
            raise SinkError(f"{self.path}: is closed already; nothing more can be written to it")
        if self._container is None:
            self._open(image)
        try:
            frame = self._video_frame(image)
            frame.pts, frame.time_base = self._place(time), self._tick
            self._durations[frame.pts] = self._last_duration = self._length(duration)
            self._end = (frame.pts + self._durations[frame.pts]) * self._tick
            self.frames += 1
            self._mux(self._stream.encode(frame))
            self._mux_sound()
        except (FFmpegError, OSError) as error:
            self._fail(error)
        assert self._file is not None
        if self._file.full is not None:
            self._fail(self._file.full)

    def close(self) -> None:
        """Complete the file and give it its final name; harmless when repeated. Without frames there is no file.

        Raises:
            SinkError: the disk is full or the file cannot be renamed; what was written plays.
        """
        if self._closed:
            return
        self._closed = True
        if self._file is None:
            return
        failure: Exception | None = None
        try:
            for packet in self._stream.encode(None):
                # A full disk leaves the reserve. It must hold the index, and takes frames as long as it does.
                needed = self._unwritten + packet.size + self._index_size()
                if self._file.full and self._file.remaining < needed:
                    break
                self._mux([packet])
            if self._audio is not None and not self._file.full:
                self._mux_sound()
                self._audio.close()
                if self._audio.trouble:
                    self.notes.append(f"{self.path}: {self._audio.trouble}")
        except (FFmpegError, OSError) as error:
            failure = error
        try:
            self._container.close()
        except (FFmpegError, OSError) as error:
            failure = failure or error
        if self._written == 0:
            self._file.discard()
        else:
            try:
                self._put_index_first()
            except (FFmpegError, OSError) as error:
                failure = failure or error
        if failure is not None:
            raise self._error(failure)

    def _put_index_first(self) -> None:
        """Commit the file, its index first: through a copy while there is room for one, else in its own place.

        A process that dies beside the copy loses nothing.
        """
        assert self._file is not None
        room = self._file.end + self._index_size()
        try:
            target = ReservedFile(self.path, room, overwrite=self._overwrite, ending="tmp")
        except SinkError:
            target = self._file
        fragments = self._file.reader()
        try:
            if target is self._file:
                self._file.rewind()
            remux(fragments, target, self._last_duration * self._tick)
        except BaseException:
            if target is not self._file:
                target.discard()
                # What cannot be copied plays as it is.
                self._file.commit()
            raise
        finally:
            fragments.close()
        target.commit()
        self._file.discard()

    def _fail(self, error: Exception) -> None:
        """End the file as well as it goes and raise."""
        try:
            self.close()
        except SinkError as second:
            raise second from None
        raise self._error(error) from None

    def _error(self, error: Exception) -> SinkError:
        kept = f"; its first {self._written} frames are kept and play" if self._written else ""
        if isinstance(error, OSError) and not isinstance(error, FFmpegError):
            return SinkError(f"{sink_error(self.path, error)}{kept}")
        reason = getattr(error, "strerror", None) or str(error)
        # An encoder's words for frames that are too large for it are "Generic error in an external library".
        size = "x".join(map(str, self._size))
        fix = kept or f"; its frames have {size} pixels: give smaller ones, or leave overlay out of --save"
        return SinkError(f"{self.path}: cannot be encoded by {self._encoder} ({reason}){fix}")

    def _open(self, image: Frame) -> None:
        height, width = (side + side % 2 for side in image.shape[:2])
        self._size = (width, height)
        self._encoder = h264_encoder(width, height)
        # The reserve holds the index, the frame that met the full disk, and those still in the encoder.
        file = ReservedFile(self.path, _RESERVE + width * height * 3 // 2, overwrite=self._overwrite)
        try:
            self._container = av.open(file, mode="w", format="mp4", options=dict(FRAGMENTED))
            stream: Any = self._container.add_stream(
                self._encoder, rate=1 / self._step, options=dict(_OPTIONS.get(self._encoder, {}))
            )
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            context = stream.codec_context
            context.time_base = self._tick
            context.gop_size = min(250, max(1, round(4 / self._step)))
            if self._encoder in HARDWARE and self._encoder not in _OPTIONS:
                context.bit_rate = round(_HARDWARE_BITS * width * height / self._step)
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _MPEG_RANGE
            if self._sound is not None:
                self._audio = AudioTrack(self._container, self._sound)
        except (FFmpegError, OSError, ValueError) as error:
            file.discard()
            raise self._error(error) from None
        self._file, self._stream = file, stream

    def _video_frame(self, image: Frame) -> Any:
        width, height = self._size
        if image.shape[:2] != (height, width):
            bottom, right = height - image.shape[0], width - image.shape[1]
            if bottom in (0, 1) and right in (0, 1):
                image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
            else:
                image = _fitted(image, width, height)
        # Its pixels are read at once, in place: a copy of 6 MB takes longer than its conversion.
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="bgr24")
        return frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")

    def _place(self, time: Fraction | None) -> int:
        """Where the next frame goes, in ticks."""
        beat = self.frames * self._step
        at = beat
        if time is not None:
            if self._first_time is None:
                self._first_time = time
            own = time - self._first_time
            if not self._on_beat or abs(own - beat) > self._tolerance:
                at = own
        self._last_pts = max(self._last_pts + 1, round(at / self._tick))
        return self._last_pts

    def _length(self, duration: Fraction | None) -> int:
        """How long a frame is shown, in ticks. Matroska says 16 ms where 1/60 s is meant."""
        if duration is None or (self._on_beat and abs(duration - self._step) <= self._tolerance):
            duration = self._step
        return max(1, round(duration / self._tick))

    def _mux(self, packets: list[Any]) -> None:
        assert self._file is not None
        for packet in packets:
            # The muxer knows a frame's duration from its successor, and the last has none.
            packet.duration = self._durations.pop(packet.pts, 0)
            size, end = packet.size, self._file.end
            self._file.claim(self._unwritten + size)
            self._container.mux(packet)
            self._written += 1
            self._unwritten = size if self._file.end > end else self._unwritten + size
        width, height = self._size
        self._file.reserve = _RESERVE + width * height * 3 // 2 + self._index_size()

    def _mux_sound(self) -> None:
        if self._audio is None:
            return
        assert self._file is not None
        origin = self._first_time or Fraction(0)
        size, end = self._audio.size, self._file.end
        self._audio.write(origin + self._end, origin)
        added = self._audio.size - size
        self._unwritten = added if self._file.end > end else self._unwritten + added

    def _index_size(self) -> int:
        sounds = 0 if self._audio is None else self._audio.packets
        return (64 << 10) + _INDEX_BYTES * (self.frames + sounds)


def _fitted(image: Frame, width: int, height: int) -> Frame:
    """The whole image as large as it goes, in the middle of width x height."""
    scale = min(width / image.shape[1], height / image.shape[0])
    inner_width, inner_height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    inner = cv2.resize(image, (inner_width, inner_height), interpolation=method)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    fitted = np.zeros((height, width, 3), np.uint8)
    fitted[top : top + inner_height, left : left + inner_width] = inner
    return fitted


def _time_base(step: Fraction, tick: Fraction | None) -> tuple[Fraction, bool]:
    """A tick in which both the constant rate and the source's times are whole numbers; is the first one so?"""
    if tick is None:
        return step, True
    both = Fraction(
        math.gcd(step.numerator * tick.denominator, tick.numerator * step.denominator),
        step.denominator * tick.denominator,
    )
    if both >= _FINEST_TICK:
        return both, True
    return (tick if tick >= _FINEST_TICK else _DEFAULT_TICK), False


@functools.cache
def h264_encoder(width: int = 640, height: int = 480) -> str:
    """Name of the H.264 encoder for frames of this size: hardware first, then software.

    Raises:
        SinkError: there is none, or it does not open.
    """
    for name in HARDWARE:
        if _opens(name, width, height):
            return name
    # What is too large for software, too, is told by its first frame, and is not that there is no encoder.
    for name in SOFTWARE:
        if _opens(name, 640, 480):
            return name
    if known := [name for name in SOFTWARE if name in av.codecs_available]:
        raise SinkError(
            f"no H.264 encoder of PyAV starts (tried {', '.join(known)}), so that no video can be written; most "
            "often too little memory is left, or a limit on it or on threads is reached (see `ulimit -a`)"
        )
    raise SinkError(
        f"PyAV {av.__version__} has no H.264 encoder, so that no video can be written; reinstall it from its "
        "wheel: pip install --force-reinstall --only-binary av av"
    )


@functools.cache
def _opens(name: str, width: int, height: int) -> bool:
    try:
        context: Any = av.CodecContext.create(name, "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        # x264 tells its troubles to the screen.
        call_listening(context.open)
    except (FFmpegError, OSError, ValueError):
        return False
    return True
