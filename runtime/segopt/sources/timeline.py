"""One rising clock out of a file's or a stream's time stamps, which may restart, wrap around or jump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_JUMP_SECONDS = 10
"""Longest gap that is believed where a format's clock may jump; FFmpeg's ``-dts_delta_threshold`` is the same."""
_ANY_JUMP_SECONDS = 30 * 3600
"""Longest gap that is believed anywhere; FFmpeg's ``-dts_error_threshold``."""
_REORDER_SECONDS = 1
"""How far shown times run back among packets, in the order of decoding."""


@dataclass
class _Progress:
    """How far a stream has come."""

    segment: int = 0
    last: Fraction | None = None
    """Time of its latest packet, as stored: that of decoding, where it has one."""
    in_order: bool = False
    """The latest packet had a time of decoding."""
    end: Fraction = Fraction(0)
    """When the packets so far are over, as stored."""


class Timeline:
    """Shifts the packets behind each break of the clock to where the packets before it end.

    All streams share the shift, so that sound stays in step. The leading stream, the video, says how large it is;
    another stream counts the breaks for itself, since packets of one stream may be stored behind those of another.
    """

    def __init__(self, leader: int, step: Fraction, *, may_jump: bool, now: Callable[[], float] | None = None):
        """Make a timeline for one container.

        Args:
            leader: index of the leading stream.
            step: seconds between two of its frames, where a packet does not say.
            may_jump: the format's clock is known to jump, as that of MPEG-TS.
            now: a clock of this machine, in seconds, for a live source: what it says was missed is kept as a gap.
        """
        self._leader, self._step, self._now = leader, step, now
        self._jump = Fraction(_JUMP_SECONDS if may_jump else _ANY_JUMP_SECONDS)
        self._streams: dict[int, _Progress] = {}
        self._shifts = [Fraction(0)]
        self._heard = now() if now else 0.0
        self.breaks = 0
        """How often the leading stream's clock broke."""

    def place(self, packet: Any) -> None:
        """Shift the packet's own times; packets of each stream come in their order."""
        stored = packet.pts if packet.dts is None else packet.dts
        if stored is None or packet.time_base is None:
            return
        tick: Fraction = packet.time_base
        if packet.pts is not None and abs(packet.pts - stored) * tick > self._jump:
            # Decoded now and shown in a thousand years: the decoder counts on from the frame before.
            packet.pts = None
        index = packet.stream.index
        time, length = stored * tick, (packet.duration or 0) * tick
        stream = self._streams.setdefault(index, _Progress())
        missed = self._missed() if index == self._leader else Fraction(0)
        in_order = packet.dts is not None
        slack = (length or self._step) / 2 if in_order and stream.in_order else Fraction(_REORDER_SECONDS)
        if stream.last is not None and (time < stream.last - slack or time > stream.end + self._jump + missed):
            self._break(stream, time, missed, leads=index == self._leader)
            stream.end = time
        stream.last, stream.in_order = time, in_order
        stream.end = max(stream.end, time + (length or self._step))
        shift = round(self._shifts[stream.segment] / tick)
        if shift:
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift

    def _break(self, stream: _Progress, time: Fraction, missed: Fraction, *, leads: bool) -> None:
        shift = self._shifts[stream.segment] + stream.end + missed - time
        stream.segment += 1
        if leads:
            self.breaks += 1
        if stream.segment == len(self._shifts):
            self._shifts.append(shift)
        elif leads:
            self._shifts[stream.segment] = shift

    def _missed(self) -> Fraction:
        """Seconds in which a live source gave nothing, over what lies between two frames anyway."""
        if self._now is None:
            return Fraction(0)
        now, before = self._now(), self._heard
        self._heard = now
        return max(Fraction(0), Fraction(now - before).limit_denominator(1000) - self._step)
