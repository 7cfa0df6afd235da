"""The sound of a video source, on its way past the network to whoever writes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

_MOST_PACKETS = 1 << 17
"""Packets that wait at most: 50 minutes of AAC. Of a live source whose pictures stopped, the latest are kept."""


class Sound:
    """Packets of one audio stream, on the clock of the source's frames. One thread adds, another takes."""

    def __init__(self, stream: Any) -> None:
        """Take PyAV's audio stream."""
        self.stream = stream
        self.wanted = False
        """Set it before the source is iterated; packets that nobody takes are not kept."""
        self._packets: deque[Any] = deque(maxlen=_MOST_PACKETS)

    def add(self, packet: Any) -> None:
        """Keep the next packet."""
        if self.wanted and packet.size and packet.pts is not None:
            self._packets.append(packet)

    def take(self, until: Fraction) -> Iterator[Any]:
        """Packets that have come and start before a time, in seconds; each is given once."""
        while self._packets:
            packet = self._packets[0]
            if packet.pts * packet.time_base >= until:
                return
            yield self._packets.popleft()
