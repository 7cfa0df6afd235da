"""What becomes of finished frames: drawing, encoding and all other writing, each in a thread of its own.

Each of the three takes about as long as merging at 1080p, so that one after the other they would be the slowest
stage of most runs. They lose no frame and keep the order; between them are short queues.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from segopt.frame import Frame
from segopt.pipeline.channel import Channel
from segopt.pipeline.clock import StageClock
from segopt.sinks.base import Finished, Sink

QUEUE = 1
"""Frames that wait for each thread. Each holds its picture, and the drawn one: 50 MB at 4K."""


class _Lane:
    """One thread with the sinks that it owns; it closes them at the end."""

    def __init__(
        self,
        name: str,
        sinks: Sequence[Sink],
        on_error: Callable[[BaseException], None],
        then: Callable[[Finished], bool] | None = None,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.name, self.frames = name, 0
        self.clock = StageClock()
        self.items: Channel[Finished] = Channel(QUEUE)
        self._sinks, self._on_error, self._then, self._at_end = sinks, on_error, then, at_end
        self.thread = threading.Thread(target=self._work, name=f"segopt-{name}", daemon=True)

    def _work(self) -> None:
        try:
            while (item := self.items.get()) is not None:
                start = time.perf_counter()
                if self._then is not None:
                    _ = item.overlay
                for sink in self._sinks:
                    sink.write(item)
                self.frames += 1
                self.clock.add(time.perf_counter() - start)
                if self._then is not None and not self._then(item):
                    break
        except BaseException as error:
            self._on_error(error)
        finally:
            self.close()

    def close(self) -> None:
        """Take no more frames and close the sinks: in its own thread, or for one that could not be started."""
        self.items.abort()
        start = time.perf_counter()
        for sink in self._sinks:
            try:
                sink.close()
            except BaseException as error:
                self._on_error(error)
        self.clock.add_rest(time.perf_counter() - start)
        self._at_end()


class Lanes:
    """The threads behind merging: ``draw`` and then ``encode`` where something takes drawn frames; ``write``."""

    def __init__(
        self, sinks: Sequence[Sink], to_show: Channel[Frame] | None, on_error: Callable[[BaseException], None]
    ) -> None:
        """Make them; nothing runs yet.

        Args:
            sinks: they are closed when all is done.
            to_show: gets each drawn frame, too.
            on_error: called in the thread of a sink that failed; the others go on with what they have.
        """
        drawn = [sink for sink in sinks if sink.wants_overlay]
        others = [sink for sink in sinks if not sink.wants_overlay]
        self._first: list[_Lane] = []
        self._all: list[_Lane] = []
        if drawn or to_show is not None:
            encode = _Lane("encode", drawn, on_error) if drawn else None

            def pass_on(item: Finished) -> bool:
                if to_show is not None:
                    to_show.put(item.overlay)
                return encode is None or encode.items.put(item)

            draw = _Lane("draw", (), on_error, pass_on, encode.items.finish if encode else lambda: None)
            self._first.append(draw)
            self._all += [draw, encode] if encode else [draw]
        if others:
            write = _Lane("write", others, on_error)
            self._first.append(write)
            self._all.append(write)
        self._given = 0

    def start(self) -> None:
        """Start the threads."""
        for lane in self._all:
            lane.thread.start()

    def put(self, item: Finished) -> bool:
        """Hand over the next frame, waiting for room; False when somebody takes none any more."""
        self._given += 1
        taken = [lane.items.put(item) for lane in self._first]
        return all(taken)

    def finish(self) -> None:
        """Nothing more will come: wait until what was given is written and all sinks are closed."""
        for lane in self._first:
            lane.items.finish()
        unstarted = [lane for lane in self._all if lane.thread.ident is None]
        for lane in unstarted:
            lane.close()
        for lane in self._all:
            if lane not in unstarted:
                lane.thread.join()

    def abort(self) -> None:
        """Drop what waits."""
        for lane in self._all:
            lane.items.abort()

    @property
    def frames(self) -> int:
        """Frames that are everywhere."""
        return min((lane.frames for lane in self._all), default=self._given)

    @property
    def clocks(self) -> dict[str, StageClock]:
        """By the stage's name."""
        return {lane.name: lane.clock for lane in self._all}
