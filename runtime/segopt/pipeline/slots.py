"""Where frames of several sources wait, until the network takes some of them together."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from segopt.sources.base import SourceFrame

_DEPTH = 2
"""Frames of a file that wait; of a live source it is the latest."""
_PATIENCE_SECONDS = 0.005
"""A frame that is there waits so long for those of other sources."""


@dataclass
class _Slot:
    live: bool
    limit: int
    """Frames that may be on their way behind the slot: a source whose sinks are slow holds back no other."""
    frames: deque[tuple[float, SourceFrame]] = field(default_factory=deque)
    """When each came, by :func:`time.monotonic`."""
    open: bool = True
    on_their_way: int = 0
    dropped: int = 0

    @property
    def ready(self) -> int:
        """Frames that may be taken now."""
        return min(len(self.frames), self.limit - self.on_their_way)


class Slots:
    """One slot for each source; sources get turns, beginning where the last batch stopped."""

    def __init__(self, live: list[bool], limit: int) -> None:
        """Empty slots.

        Args:
            live: for each source, whether only its latest frame is of use.
            limit: frames of a source that may be taken and not :meth:`done` yet.
        """
        self._slots = [_Slot(is_live, limit) for is_live in live]
        self._changed = threading.Condition()
        self._next = 0

    def put(self, i: int, frame: SourceFrame) -> bool:
        """A frame of source ``i``, which waits for room unless it is live; False when it is closed."""
        slot = self._slots[i]
        with self._changed:
            if slot.live:
                slot.dropped += len(slot.frames)
                slot.frames.clear()
            else:
                self._changed.wait_for(lambda: len(slot.frames) < _DEPTH or not slot.open)
            if not slot.open:
                return False
            slot.frames.append((time.monotonic(), frame))
            self._changed.notify_all()
            return True

    def close(self, i: int, *, drop: bool = False) -> None:
        """No more frames of source ``i``; with ``drop``, those that wait are not taken either."""
        with self._changed:
            self._slots[i].open = False
            if drop:
                self._slots[i].frames.clear()
            self._changed.notify_all()

    def done(self, i: int) -> None:
        """A frame of source ``i`` that was taken is written, or lost."""
        with self._changed:
            self._slots[i].on_their_way -= 1
            self._changed.notify_all()

    def dropped(self, i: int) -> int:
        """Frames of live source ``i`` that were passed over."""
        return self._slots[i].dropped

    def take(self, most: int) -> list[tuple[int, SourceFrame]]:
        """The next frames, up to ``most``, each with the number of its source; none when all are closed and empty.

        It waits until there are so many, until every source that has room for more gave one, or until the oldest
        waits for 5 ms.
        """
        with self._changed:
            while True:
                if not any(slot.open or slot.frames for slot in self._slots):
                    return []
                wait = self._wait(most)
                if wait is not None and wait <= 0:
                    return self._taken(most)
                self._changed.wait(wait)

    def _wait(self, most: int) -> float | None:
        """Seconds until a batch is due; None until something changes."""
        ready = [slot for slot in self._slots if slot.ready]
        if not ready:
            return None
        expected = [slot for slot in self._slots if slot.open and slot.on_their_way < slot.limit]
        if sum(slot.ready for slot in ready) >= most or all(slot.ready for slot in expected):
            return 0
        oldest = min(slot.frames[0][0] for slot in ready)
        return oldest + _PATIENCE_SECONDS - time.monotonic()

    def _taken(self, most: int) -> list[tuple[int, SourceFrame]]:
        taken: list[tuple[int, SourceFrame]] = []
        count, idle = len(self._slots), 0
        while len(taken) < most and idle < count:
            i = self._next
            self._next = (i + 1) % count
            slot = self._slots[i]
            idle += 1
            if slot.ready > 0:
                taken.append((i, slot.frames.popleft()[1]))
                slot.on_their_way += 1
                idle = 0
        self._changed.notify_all()
        return taken
