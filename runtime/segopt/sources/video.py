"""Video files and network streams, through PyAV."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import av
from av.error import FFmpegError
from av.error import TimeoutError as AvTimeoutError
from av.stream import Disposition

from segopt.errors import SegoptError, SourceBrokenError, SourceError
from segopt.pixel_limit import max_pixels, too_large
from segopt.sources.base import Source, SourceFrame, frames_to_expect
from segopt.sources.conversion import Converter
from segopt.sources.sound import Sound
from segopt.sources.timeline import Timeline

# Containers that say themselves when a packet is incomplete. MPEG-TS marks packets on every continuity error,
# and recordings of broadcasts are full of those.
_HONEST_PACKETS = ("mov", "matroska", "avi", "flv")

# Formats that libavformat guesses for files which are no video: text becomes ANSI art.
_NO_VIDEO_FORMATS = frozenset({"tty", "bin", "idf", "xbin", "adf"})

_FARTHEST_SOUND = 10
"""Seconds of frames behind which a frame's sound is looked for; FFmpeg's muxers keep the two as near."""

# PyAV up to 18 refuses a file whose tags are not UTF-8 unless told otherwise; PyAV 19 has no such option.
_LENIENT: dict[str, Any] = (
    {"metadata_errors": "replace"} if hasattr(av.container.Container, "metadata_errors") else {}
)


class VideoSource(Source):
    """Frames of a video file or a network stream as a player shows them, with their times."""

    kind = "video"

    def __init__(
        self, spec: str, *, stride: int = 1, max_frames: int | None = None, timeout: float = 10.0
    ) -> None:
        """Open a file or URL.

        Raises:
            SourceError: it cannot be reached, is no video, or has no video in it.
        """
        super().__init__()
        self._is_url = "://" in spec
        self._label = without_password(spec) if self._is_url else spec
        self.name = _url_name(spec) if self._is_url else PurePosixPath(spec).stem
        self.files = () if self._is_url else (Path(spec),)
        self._stride, self._limit = stride, max_frames
        options = {"rtsp_transport": "tcp"} if spec.lower().startswith(("rtsp:", "rtsps:")) else {}
        try:
            self._container = av.open(
                # Without its scheme, a name such as 2024-01-01T12:30:05.mp4 is taken for a protocol.
                spec if self._is_url else f"file:{spec}",
                mode="r",
                options=options,
                timeout=(timeout, timeout) if self._is_url else None,
                **_LENIENT,
            )
        except (FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{self._label}: {self._why_not_opened(error)}") from None
        try:
            self._stream = self._pick_stream()
            self._limit_pixels()
        except SegoptError:
            self._container.close()
            raise
        self.live = self._is_url and not self._container.duration
        # Frame threads hold back one frame each; a camera's latest frame must not wait for that.
        self._stream.thread_type = "SLICE" if self.live else "AUTO"
        self.tick = self._stream.time_base
        own_rate = self._stream.average_rate or self._stream.guessed_rate
        self._own_rate = own_rate or (None if self.live else Fraction(25))
        self.rate = (self._own_rate or Fraction(30)) / stride
        self._promised = None if self.live else self._promised_packets()
        self.frame_count = frames_to_expect(None if self.live else self._expected_frames(), stride, max_frames)
        self._converter = Converter(self._stream.sample_aspect_ratio, self._note)
        self._timeline = Timeline(
            self._stream.index,
            1 / (self._own_rate or Fraction(30)),
            may_jump=self._container.format.flags & av.format.Flags.ts_discont.value != 0,
            now=time.monotonic if self.live else None,
        )
        heard = self._container.streams.best("audio")
        self.sound = Sound(heard) if heard is not None and heard.codec_context is not None else None

    def _note(self, text: str) -> None:
        self.notes.append(f"{self._label}: {text}")

    def _why_not_opened(self, error: Exception) -> str:
        reason = getattr(error, "strerror", None) or str(error)
        if not self._is_url:
            return f"is not a video that can be read ({reason}); copy it again, or convert it to MP4"
        if isinstance(error, AvTimeoutError) or "Immediate exit" in reason:
            return "does not answer; check the address and that the camera is on"
        return f"cannot be opened ({reason}); check the address, user and password"

    def _pick_stream(self) -> Any:
        streams = []
        if self._container.format.name not in _NO_VIDEO_FORMATS:
            streams = [each for each in self._container.streams.video if _is_film(each)]
        if not streams:
            raise SourceError(f"{self._label}: has no video in it; give a video or a picture")
        defaults = [each for each in streams if each.disposition & Disposition.default] or streams
        taken = max(defaults, key=lambda each: (each.codec_context.width or 0) * (each.codec_context.height or 0))
        if len(streams) > 1:
            which = "default" if len(defaults) == 1 else "largest"
            size = f"{taken.codec_context.width}x{taken.codec_context.height}"
            self._note(
                f"has {len(streams)} video streams; the {which} one (stream {taken.index}, {size}) is taken"
            )
        return taken

    def _limit_pixels(self) -> None:
        """Refuse a video of larger frames than the limit, and let the decoder refuse any that comes later."""
        context = self._stream.codec_context
        if (trouble := too_large(context.height or 0, context.width or 0)) is not None:
            raise SourceError(f"{self._label}: {trouble}")
        context.options = {**context.options, "max_pixels": str(max_pixels())}

    def _promised_packets(self) -> int | None:
        """Video packets that the container's own table lists."""
        if "mov" in self._container.format.name and self._stream.frames:
            # The table is shorter than the count in the header where an edit list trims the video.
            return len(getattr(self._stream, "index_entries", ())) or int(self._stream.frames)
        if self._container.format.name == "avi":
            return int(self._stream.frames) or None
        return None

    def _expected_frames(self) -> int | None:
        if "mov" in self._container.format.name and self._promised:
            index = getattr(self._stream, "index_entries", ())
            return sum(not entry.is_discard for entry in index) or self._promised
        if self._stream.frames:
            return int(self._stream.frames)
        if self._container.duration and self._own_rate:
            return round(Fraction(self._container.duration, av.time_base) * self._own_rate)
        return None

    def _frames(self) -> Iterator[SourceFrame]:
        given = 0
        demuxed = self._demuxed()
        for index, frame in enumerate(self._converter.frames(self._decoded(demuxed))):
            if index % self._stride:
                continue
            stem = f"{self.name}-{index:06d}"
            tick: Fraction = frame.time_base or self.tick or Fraction(1, av.time_base)
            duration = getattr(frame, "duration", 0) if self._stride == 1 else 0
            shown = SourceFrame(
                index,
                self._converter.picture(frame),
                stem,
                f"{stem}.jpg",
                None if frame.pts is None else frame.pts * tick,
                duration * tick if duration else None,
            )
            given += 1
            if given == self._limit and shown.time is not None and not self.live:
                self._read_sound(demuxed, shown.time + 1 / (self.rate or Fraction(25)))
            yield shown
            if given == self._limit:
                return

    def _demuxed(self) -> Iterator[Any]:
        """All packets, on one clock; those of the sound are put aside, too."""
        for packet in self._container.demux():
            self._timeline.place(packet)
            if self.sound is not None and packet.stream.index == self.sound.stream.index:
                self.sound.add(packet)
            yield packet

    def _read_sound(self, demuxed: Iterator[Any], end: Fraction) -> None:
        """Read on to the end of the last frame's sound, which may be stored behind that frame."""
        if self.sound is None or not self.sound.wanted:
            return
        with contextlib.suppress(FFmpegError):
            for packet in demuxed:
                stamp = packet.pts if packet.dts is None else packet.dts
                if stamp is None or packet.time_base is None:
                    continue
                heard = packet.stream.index == self.sound.stream.index
                if stamp * packet.time_base >= end + (0 if heard else _FARTHEST_SOUND):
                    return

    def _decoded(self, demuxed: Iterator[Any]) -> Iterator[Any]:
        """All frames that can be decoded; then an error if that was not all there should be."""
        packets = frames = 0
        end = Fraction(0)
        video_end = Fraction(0)
        broken: str | None = None
        while True:
            try:
                packet = next(demuxed, None)
            except FFmpegError as error:
                broken = error.strerror or str(error)
                break
            if packet is None:
                break
            if packet.pts is not None and packet.time_base is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream.index != self._stream.index:
                continue
            if packet.size and packet.is_corrupt and not self.live and self._is_honest():
                broken = "a frame is incomplete"
                break
            packets += packet.size > 0
            video_end = end
            try:
                decoded = packet.decode()
            except FFmpegError as error:
                if self.live:
                    continue  # Joining a stream between two key frames: what comes before the next one fails.
                broken = error.strerror or str(error)
                break
            frames += len(decoded)
            yield from decoded
        if broken is not None:
            with contextlib.suppress(FFmpegError, EOFError):
                for frame in self._stream.codec_context.decode(None):
                    frames += 1
                    yield frame
        if self._timeline.breaks:
            times = "once" if self._timeline.breaks == 1 else f"{self._timeline.breaks} times"
            self._note(f"its clock restarts or jumps {times}; what follows is put behind what came before")
        if broken is None:
            broken = "the stream ended" if self.live else self._shortfall(packets, video_end, end)
        if broken is not None and frames == 0:
            raise SourceError(f"{self._label}: not one frame of it can be read ({broken}); copy it again")
        if frames == 0:
            raise SourceError(f"{self._label}: has no frames in it; give a video or a picture")
        if broken is not None:
            raise SourceBrokenError(
                f"{self._label}: breaks off after {{frames}} frames ({broken}); those are kept, "
                f"{'start again for more' if self._is_url else 'copy the file again for the rest'}",
                frames=frames,
                reason=broken,
            )

    def _is_honest(self) -> bool:
        return any(name in self._container.format.name for name in _HONEST_PACKETS)

    def _shortfall(self, packets: int, video_end: Fraction, end: Fraction) -> str | None:
        """What the container promised and did not hold. A file cut in half ends without any other sign."""
        name = self._container.format.name
        if self._promised is not None:
            # AVI counts frames that were dropped at recording.
            needed = self._promised if "mov" in name else int(self._promised * 0.99) - 1
            return f"it holds {packets} of {self._promised} frames" if packets < needed else None
        if "matroska" not in name and "flv" not in name:
            return None
        promised, found = _stream_duration(self._stream.metadata), video_end
        if promised is None and self._container.duration:
            promised, found = Fraction(self._container.duration, av.time_base), end
        slack = max(Fraction(1, 4), 2 / (self._own_rate or Fraction(25)))
        if promised is not None and found + slack < promised:
            return f"it holds {float(found):.1f} of {float(promised):.1f} s"
        return None

    def _close(self) -> None:
        self._container.close()


def _is_film(stream: Any) -> bool:
    """A video stream that can be decoded, and no cover picture."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    return stream.codec_context is not None and not stream.disposition & covers


def _stream_duration(metadata: dict[str, str]) -> Fraction | None:
    """Matroska's DURATION tag, ``00:00:30.160000000``, in seconds."""
    match = re.match(r"^(\d+):(\d\d):(\d\d(?:\.\d+)?)$", metadata.get("DURATION", ""))
    if match is None:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3])


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", url)


def _url_name(url: str) -> str:
    parts = urlsplit(url)
    host = (parts.netloc.rpartition("@")[2] or "stream").split("?")[0]
    stem = PurePosixPath(parts.path).stem
    if parts.scheme.lower() in ("http", "https") and stem:
        host = ""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{host}{'-' if host and stem else ''}{stem}").strip("-.") or "stream"
