"""A live source that comes back: opened again, with growing pauses, until it gives frames or nobody waits."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from segopt.errors import SourceBrokenError, SourceError
from segopt.sources.base import Source, SourceFrame

_LONGEST_PAUSE = 30.0
_MICROSECONDS = 1_000_000
_SETTLING_SECONDS = 5.0
"""In which a new connection gives what it read while it was opened. FFmpeg looks at up to 5 s of a stream."""


@dataclass(frozen=True)
class Reconnect:
    """How a live source that breaks off is opened again."""

    attempts: int | None = None
    """In a row, after which it is given up; None never does."""
    on_event: Callable[[str], None] = lambda _: None
    """Gets a line for each end of a connection, each attempt in vain, and each return. Called in any thread."""


@dataclass(frozen=True)
class Gap:
    """A time without frames."""

    start: Fraction
    """Seconds on the recording's clock: the last frame before it."""
    seconds: float
    attempts: int
    """How often it was tried to open the source."""
    reason: str
    """Why the connection ended."""


class ReconnectingSource(Source):
    """Frames of a live source over all its connections, on one clock that keeps the length of the gaps.

    Times within a connection are the source's own, or those of arrival where it has none. The first frame after a
    gap has the time of the last one before it, and what the machine's clock counted between the two.
    """

    kind = "video"
    live = True

    def __init__(
        self,
        label: str,
        first: Source,
        reopen: Callable[[], Source],
        how: Reconnect,
        *,
        stride: int = 1,
        max_frames: int | None = None,
    ) -> None:
        """Go on from an open source.

        Args:
            label: what messages call it.
            first: live, and not yet iterated.
            reopen: opens it again; raises :class:`SourceError` while it cannot.
            how: attempts, and who hears of them.
            stride: that both are opened with.
            max_frames: over all connections.
        """
        super().__init__()
        self.name, self.rate, self.tick, self.frame_count = first.name, first.rate, first.tick, first.frame_count
        self.gaps: list[Gap] = []
        """Those that are over."""
        self._label, self._source, self._reopen, self._how = label, first, reopen, how
        self._stride, self._limit = stride, max_frames
        self._given = 0
        self._last = Fraction(0)
        """Time of the last frame."""
        self._arrived = 0.0
        """And when it came, by :func:`time.monotonic`."""
        self._origin = math.inf
        """The :func:`time.monotonic` at which the recording's clock was 0, by the frame that came soonest."""
        self._attempts = 0
        """Since the last frame."""
        self._reason = ""
        """Why the last frame was the last one."""
        self._stopping = threading.Event()

    def stop(self) -> None:
        """See :meth:`Source.stop`."""
        self._stopping.set()

    @property
    def retrying(self) -> bool:
        """See :meth:`Source.retrying`."""
        return self._attempts > 0

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self.stop()
        super().close()

    def _close(self) -> None:
        self._source.close()

    def _frames(self) -> Iterator[SourceFrame]:
        start = 0
        while True:
            index = None
            try:
                for frame in self._connection():
                    index = start + frame.index
                    stem = f"{self.name}-{index:06d}"
                    yield dataclasses.replace(frame, index=index, name=stem, file_name=f"{stem}.jpg")
                    if self._given == self._limit:
                        return
                reason = "it ended"
            except SourceBrokenError as error:
                reason = error.reason
            except SourceError as error:
                if not self._given:
                    raise
                reason = _reason(error, self._label)
            if index is not None:
                start = index + self._stride
            self._reason = reason if index is not None else self._reason
            if not self._open_again(reason):
                return

    def _connection(self) -> Iterator[SourceFrame]:
        """The frames of the open connection, on the recording's clock."""
        offset: Fraction | None = None
        settled = 0.0
        for frame in self._source:
            now = time.monotonic()
            passed = _seconds(now - self._arrived)
            if offset is None:
                own = frame.time or Fraction(0)
                # A reader that was too slow lagged behind the stream; what it had not read yet is lost, too.
                offset = self._clock(now) - own if self._given else Fraction(0)
                settled = now + _SETTLING_SECONDS if self._given else 0.0
                at = offset + own
                if self._attempts:
                    self._end_gap(float(at - self._last))
            elif frame.time is None:
                at = self._last + passed
            else:
                if now < settled:
                    # What came while the stream was being opened is given late and at once; the rest is in time.
                    offset = min(offset, self._clock(now) - frame.time)
                at = offset + frame.time
            self._last, self._arrived = at, now
            self._origin = min(self._origin, now - float(at))
            self._given += 1
            yield dataclasses.replace(frame, time=at)

    def _clock(self, now: float) -> Fraction:
        """What the recording's clock shows at this :func:`time.monotonic`; it never goes back."""
        return max(self._last, _seconds(now - self._origin))

    def _end_gap(self, seconds: float) -> None:
        self.gaps.append(Gap(self._last, seconds, self._attempts, self._reason))
        tries = f"{self._attempts} attempt{'' if self._attempts == 1 else 's'}"
        self._how.on_event(
            f"{self._label}: is back; a gap of {seconds:.1f} s from {float(self._last):.1f} s on ({tries})"
        )
        self._attempts = 0

    def _open_again(self, reason: str) -> bool:
        """Wait and open, as often as it takes; False when nobody waits any more.

        Raises:
            SourceBrokenError: that was the last attempt.
        """
        self._source.close()
        while True:
            if self._attempts == self._how.attempts:
                raise SourceBrokenError(
                    f"{self._label}: breaks off after {{frames}} frames ({self._reason}; not back in "
                    f"{self._attempts} attempts: {reason}); those are kept, start again for more",
                    frames=self._given,
                    reason=reason,
                )
            pause = min(2.0**self._attempts, _LONGEST_PAUSE) if self._attempts < 5 else _LONGEST_PAUSE
            what = "is not back" if self._attempts else "broke off"
            self._how.on_event(f"{self._label}: {what} ({reason}); trying again in {pause:.0f} s")
            if self._stopping.wait(pause):
                return False
            self._attempts += 1
            try:
                self._source = self._reopen()
            except SourceError as error:
                reason = _reason(error, self._label)
            else:
                return True


def _seconds(time: float) -> Fraction:
    return Fraction(round(time * _MICROSECONDS), _MICROSECONDS)


def _reason(error: SourceError, label: str) -> str:
    return str(error).removeprefix(f"{label}: ").partition(";")[0]
