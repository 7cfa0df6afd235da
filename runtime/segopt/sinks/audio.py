"""The source's sound in the video that is made of it: copied as it is where MP4 takes it, else as AAC."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError

from segopt.sources.sound import Sound

_COPIED = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"})
"""Codecs that MP4 holds and players find there."""

_AAC_FRAME = 1024
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


class AudioTrack:
    """An audio stream in an MP4 container that is being written.

    What cannot be copied or encoded ends the sound, never the video; ``trouble`` says it then.
    """

    def __init__(self, container: Any, sound: Sound) -> None:
        """Add the stream to a container whose header is not yet written."""
        self.packets = 0
        """Packets that were muxed."""
        self.size = 0
        """Their bytes."""
        self.trouble: str | None = None
        self._container, self._sound = container, sound
        self._stream: Any = None
        self._last: int | None = None
        self._resampler: Any = None
        self._without_headers: BitStreamFilterContext | None = None
        self._next = Fraction(0)
        context = sound.stream.codec_context
        name = context.codec.canonical_name
        if name in _COPIED and _can_be_copied(sound.stream):
            self._stream = container.add_stream_from_template(sound.stream)
            if name == "aac" and not context.extradata:
                # From a transport stream, each packet carries its own header. The muxer takes that off by itself
                # in a plain file, and not in one of fragments.
                self._without_headers = BitStreamFilterContext("aac_adtstoasc", sound.stream)
        elif context.sample_rate and context.layout.nb_channels:
            rate = min((r for r in _AAC_RATES if r >= context.sample_rate), default=_AAC_RATES[-1])
            layout = "mono" if context.layout.nb_channels == 1 else "stereo"
            self._stream = container.add_stream("aac", rate=rate, layout=layout)
            self._resampler = av.AudioResampler("fltp", layout, rate, frame_size=_AAC_FRAME)
        else:
            self._fail(f"its form is unknown ({name})")

    def write(self, until: Fraction, origin: Fraction) -> None:
        """Write what has come and starts before a time.

        Args:
            until: seconds on the source's clock.
            origin: seconds on the source's clock at which the video begins.
        """
        for packet in self._sound.take(until):
            if self._stream is None:
                continue
            tick = packet.time_base
            start, length = packet.pts * tick - origin, (packet.duration or 0) * tick
            # A decoder needs the packet before the first that is heard.
            if start + 2 * length <= 0:
                continue
            try:
                if self._resampler is None:
                    self._copy(packet, round(origin / tick))
                else:
                    self._encode(packet, origin)
            except (FFmpegError, ValueError) as error:
                self._fail(getattr(error, "strerror", None) or str(error))

    def close(self) -> None:
        """Write what an encoder still holds."""
        if self._stream is None or self._resampler is None:
            return
        try:
            for frame in self._resampler.resample(None):
                self._mux(self._stream.encode(frame))
            self._mux(self._stream.encode(None))
        except (FFmpegError, ValueError, EOFError) as error:
            self._fail(getattr(error, "strerror", None) or str(error))

    def _copy(self, packet: Any, shift: int) -> None:
        packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        if self._last is None or packet.dts > self._last:
            self._last = packet.dts
            packet.stream = self._stream
            self._mux([packet] if self._without_headers is None else self._without_headers.filter(packet))

    def _encode(self, packet: Any, origin: Fraction) -> None:
        for frame in _decoded(packet):
            # On the track's own clock, in samples, from the video's beginning.
            start = self._next if frame.pts is None else frame.pts * frame.time_base - origin
            self._next = start + Fraction(frame.samples, frame.sample_rate)
            frame.time_base = Fraction(1, frame.sample_rate)
            frame.pts = round(start * frame.sample_rate)
            if frame.pts + frame.samples > 0:
                for even in self._resampler.resample(frame):
                    self._mux(self._stream.encode(even))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            size = packet.size
            self._container.mux(packet)
            self.packets += 1
            self.size += size

    def _fail(self, reason: str) -> None:
        self._stream = None
        self.trouble = f"the source's sound is not kept: {reason}"


def _decoded(packet: Any) -> Iterator[Any]:
    try:
        yield from packet.decode()
    except FFmpegError:
        return  # One damaged packet is a moment of silence.


def _can_be_copied(stream: Any) -> bool:
    """MP4 takes the stream's header. Found out beforehand, since its failure would take the video with it."""
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True
