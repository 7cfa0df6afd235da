"""Several sources through one segmenter: frames of all of them share its batches.

A reader and a slot for each source; one thread that takes frames in turn and letterboxes them; one for the
network; one that tells the outputs apart; and for each source its own merging, tracking, drawing and writing. A
source that breaks off or hangs, and one whose results cannot be written, ends alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from segopt.errors import SourceBrokenError
from segopt.interrupts import held
from segopt.pipeline.channel import Channel
from segopt.pipeline.clock import StageClock, StageTime
from segopt.pipeline.following import follow
from segopt.pipeline.lanes import Lanes
from segopt.pipeline.overlapping import overlapped
from segopt.pipeline.run import RunStats, saved_by
from segopt.pipeline.slots import Slots
from segopt.sinks.base import Finished, Sink
from segopt.sources.base import Source, SourceFrame
from segopt.stages import Stages
from segopt.tracking.tracker import Tracker

HANG_SECONDS = 30.0
"""A source that gives no frame for so long has hung, unless it says that it tries to come back."""
_POLL_SECONDS = 0.1
_NETWORK_SECONDS = 10.0
_READER_SECONDS = 1.0


@dataclass(eq=False)
class Feed:
    """One source and where its results go."""

    source: Source
    sinks: Sequence[Sink]
    tracker: Tracker | None = None
    error: BaseException | None = None
    """What ended it before its time; what came before that is in the sinks."""
    stats: RunStats | None = None
    """What became of it, when the run is over."""
    decoding: StageClock = field(default_factory=StageClock, repr=False)
    finishing: StageClock = field(default_factory=StageClock, repr=False)
    unconverged: int = 0
    waiting_since: float | None = None
    """Since when its reader waits for a frame, by :func:`time.monotonic`."""


_Taken = list[tuple[int, SourceFrame]]
"""Frames of a batch, each with the number of its source."""


class _Many:
    """State that the threads share."""

    def __init__(self, feeds: Sequence[Feed], segmenter: Stages, batch: int) -> None:
        self.feeds, self.segmenter, self.batch = feeds, segmenter, batch
        # A live frame that waits behind another one in the network only grows old there.
        self.depth = 1 if any(feed.source.live for feed in feeds) else segmenter.depth
        # Those in the network, a batch on its way to it, and what is behind it.
        limit = (self.depth + 1) * batch + 2
        self.slots = Slots([feed.source.live for feed in feeds], limit)
        self.to_infer: Channel[tuple[_Taken, Any]] = Channel(1)
        self.to_sort: Channel[tuple[_Taken, Any, Any]] = Channel(2)
        # As many as can be on their way, so that sorting never waits for one of them.
        self.to_finish: list[Channel[tuple[SourceFrame, Any]]] = [Channel(limit) for _ in feeds]
        self.lanes = [Lanes(feed.sinks, None, partial(self.fail, i)) for i, feed in enumerate(feeds)]
        self.inferring = StageClock()
        self.error: BaseException | None = None
        self.stopping = threading.Event()

    def fail(self, i: int, error: BaseException) -> None:
        """Source ``i`` ends here."""
        feed = self.feeds[i]
        feed.error = feed.error or error
        self.slots.close(i, drop=True)
        feed.source.stop()

    def fail_all(self, error: BaseException) -> None:
        """The network failed."""
        self.error = self.error or error
        self.stop(drop=True)

    def stop(self, *, drop: bool = False) -> None:
        """Read no more."""
        self.stopping.set()
        for i, feed in enumerate(self.feeds):
            self.slots.close(i, drop=drop)
            feed.source.stop()

    def abort(self) -> None:
        """Drop what is on its way between the threads, and let each end."""
        self.to_infer.abort()
        self.to_sort.abort()
        for channel in self.to_finish:
            channel.abort()

    def read(self, i: int) -> None:
        feed = self.feeds[i]
        try:
            frames = iter(feed.source)
            while not self.stopping.is_set() and feed.error is None:
                start = feed.waiting_since = time.monotonic()
                frame = next(frames, None)
                feed.waiting_since = None
                if frame is None:
                    return
                feed.decoding.add(time.monotonic() - start)
                if not self.slots.put(i, frame):
                    return
        except BaseException as error:
            # Frames that wait are still taken.
            feed.error = feed.error or error
        finally:
            feed.waiting_since = None
            self.slots.close(i)

    def gather(self) -> None:
        try:
            while taken := self.slots.take(self.batch):
                prepared = self.segmenter.prepare([frame.image for _, frame in taken])
                if not self.to_infer.put((taken, prepared)):
                    return
        except BaseException as error:
            self.fail_all(error)
        finally:
            self.to_infer.finish()

    def infer(self) -> None:
        try:
            for (taken, prepared), outputs, seconds in overlapped(
                self.to_infer, lambda work: self.segmenter.submit(work[1]), self.depth
            ):
                self.inferring.add(seconds, len(taken))
                if not self.to_sort.put((taken, prepared, outputs)):
                    return
        except BaseException as error:
            self.fail_all(error)
        finally:
            self.to_infer.abort()
            self.to_sort.finish()

    def sort(self) -> None:
        try:
            while (work := self.to_sort.get()) is not None:
                taken, prepared, outputs = work
                found = self.segmenter.decode(prepared, outputs)
                for (i, frame), one in zip(taken, found, strict=True):
                    if not self.to_finish[i].put((frame, one)):
                        self.slots.done(i)
        except BaseException as error:
            self.fail_all(error)
        finally:
            self.to_sort.abort()
            for channel in self.to_finish:
                channel.finish()

    def finish(self, i: int) -> None:
        feed, lanes = self.feeds[i], self.lanes[i]
        try:
            lanes.start()
            while (work := self.to_finish[i].get()) is not None:
                frame, found = work
                try:
                    start = time.perf_counter()
                    result = self.segmenter.assemble(found)
                    feed.unconverged += not result.converged
                    item = Finished(frame, follow(feed.tracker, frame, result) if feed.tracker else result)
                    feed.finishing.add(time.perf_counter() - start)
                    if not lanes.put(item):
                        return
                finally:
                    self.slots.done(i)
        except BaseException as error:
            self.fail(i, error)
        finally:
            self.to_finish[i].abort()
            lanes.finish()

    def end_hanging(self, patience: float) -> None:
        """Give up sources that give nothing and say nothing."""
        now = time.monotonic()
        for i, feed in enumerate(self.feeds):
            since = feed.waiting_since
            if since is not None and now - since > patience and not feed.source.retrying:
                name = feed.source.name
                self.fail(i, SourceBrokenError(f"{name}: gives no frame for {patience:.0f} s; its stream ends"))
                feed.waiting_since = None

    def stage_times(self, i: int) -> dict[str, StageTime]:
        clocks = {"decode": self.feeds[i].decoding, "infer": self.inferring, "finish": self.feeds[i].finishing}
        return {name: clock.time for name, clock in {**clocks, **self.lanes[i].clocks}.items()}

    def milliseconds(self, i: int) -> dict[str, float]:
        try:
            return {name: stage.frame_ms for name, stage in self.stage_times(i).items()}
        except RuntimeError:
            # A clock was added to meanwhile.
            return {}


def run_many(
    feeds: Sequence[Feed],
    segmenter: Stages,
    *,
    batch: int,
    patience: float = HANG_SECONDS,
    on_progress: Callable[[list[int]], None] | None = None,
) -> KeyboardInterrupt | None:
    """Run several sources through a segmenter, each into its own sinks.

    Each feed gets its ``stats`` and ``error``. Call it from the main thread. All sinks are closed when it returns
    or raises. Of live sources the latest frames are kept; files lose none.

    Args:
        feeds: sources are open; the caller closes them.
        segmenter: see :class:`Stages`.
        batch: frames per inference, of one source or of several.
        patience: seconds after which a source that gives nothing has hung.
        on_progress: gets the numbers of frames that are done, about ten times a second.

    Returns:
        What the first Ctrl-C raised, after which outputs are complete up to there; a second one drops what waits.

    Raises:
        SegoptError, or whatever else the network raised. What came before it is in the sinks.
        KeyboardInterrupt: a third Ctrl-C; sinks may be incomplete.
    """
    run = _Many(feeds, segmenter, batch)
    for i, feed in enumerate(feeds):
        for sink in feed.sinks:
            sink.watch(partial(run.milliseconds, i))
    begun = time.perf_counter()
    readers = [_thread(f"read-{i}", partial(run.read, i)) for i in range(len(feeds))]
    finishers = [_thread(f"finish-{i}", partial(run.finish, i)) for i in range(len(feeds))]
    middle = [
        _thread(name, work) for name, work in (("gather", run.gather), ("infer", run.infer), ("sort", run.sort))
    ]
    interrupts: list[KeyboardInterrupt] = []
    ended: float | None = None
    while True:
        try:
            with held():
                for thread in (*readers, *middle, *finishers):
                    if thread.ident is None:
                        thread.start()
            while any(thread.is_alive() for thread in finishers):
                time.sleep(_POLL_SECONDS)
                run.end_hanging(patience)
                if ended is not None and time.monotonic() - ended > _NETWORK_SECONDS and middle[1].is_alive():
                    segmenter.abandon()
                    run.to_sort.finish()
                if on_progress is not None:
                    on_progress([lanes.frames for lanes in run.lanes])
            break
        except KeyboardInterrupt as interrupt:
            interrupts.append(interrupt)
            if len(interrupts) > 2:
                raise
            ended = ended or time.monotonic()
            run.stop(drop=True)
            if len(interrupts) > 1:
                for lanes in run.lanes:
                    lanes.abort()
        except BaseException as error:
            # Such as that the system starts no more threads.
            run.fail_all(error)
            run.abort()
            for thread, lanes in zip(finishers, run.lanes, strict=True):
                if thread.ident is None:
                    lanes.finish()
                else:
                    thread.join()
            raise
    seconds = time.perf_counter() - begun
    for thread in readers:
        # A read from a dead camera may hang for as long as it likes: its thread is a daemon.
        thread.join(_READER_SECONDS)
    for i, feed in enumerate(feeds):
        frames = run.lanes[i].frames
        if isinstance(feed.error, SourceBrokenError):
            feed.error = feed.error.of(frames)
        feed.stats = RunStats(
            frames=frames,
            dropped=run.slots.dropped(i),
            seconds=seconds,
            stages=run.stage_times(i),
            unconverged=feed.unconverged,
            objects=None if feed.tracker is None else feed.tracker.count,
            saved=saved_by(feed.sinks),
            notes=tuple(note for sink in feed.sinks for note in sink.notes),
            interrupt=interrupts[0] if interrupts else None,
        )
    if run.error is not None:
        raise run.error
    return interrupts[0] if interrupts else None


def _thread(name: str, work: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=work, name=f"segopt-{name}", daemon=True)
