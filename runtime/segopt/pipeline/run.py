"""Frames through a segmenter into sinks, the stages in threads of their own.

decode and letterbox -> infer -> decode outputs, merge, track -> draw -> encode, and beside these two, write.
Between two stages is a short queue, so that a slow stage holds back the one before it and memory stays bounded.
A live source is never held back: of the frames that wait, the latest is kept.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segopt.backends.base import Pending
from segopt.errors import SourceBrokenError
from segopt.frame import Frame
from segopt.interrupts import held
from segopt.pipeline.channel import Channel
from segopt.pipeline.clock import StageClock, StageTime
from segopt.pipeline.following import follow
from segopt.pipeline.lanes import Lanes
from segopt.pipeline.overlapping import overlapped
from segopt.sinks.base import Finished, Sink
from segopt.sources.base import Source, SourceFrame
from segopt.stages import Stages
from segopt.tracking.tracker import Tracker

if TYPE_CHECKING:
    from segopt.sinks.window import Screen

_QUEUE = 2
_PATIENT_INTERRUPTS = 2
_POLL_SECONDS = 0.1
_SHOW_SECONDS = 0.01
_READER_SECONDS = 2.0
_NETWORK_SECONDS = 2.0
_NETWORK_INFERENCES = 3
"""A network that was told to end hangs when it takes longer than the first, and than so many of its inferences."""


@dataclass(frozen=True)
class Saved:
    """A file or folder that a run wrote."""

    what: str
    """In a word or two: ``overlay``, ``COCO results``."""
    path: Path
    frames: int
    """Frames that are in it."""


@dataclass(frozen=True)
class RunStats:
    """What a run did."""

    frames: int
    """Frames that reached the sinks."""
    dropped: int
    """Frames of a live source that were passed over."""
    seconds: float
    stages: Mapping[str, StageTime]
    """What each stage took: ``decode`` (read, decode, letterbox), ``infer`` (the network; what a frame waited for
    the one before it is not counted), ``finish`` (decode the outputs, merge, track), and those that the run has of
    ``draw``, ``encode`` (drawn pictures or video) and ``write`` (all else)."""
    unconverged: int
    """Results whose suppression did not converge."""
    objects: int | None = None
    """How many objects were followed; None where nothing tracks."""
    saved: tuple[Saved, ...] = ()
    """What was written."""
    notes: tuple[str, ...] = ()
    """Lines for a person: what could not be written as it was."""
    interrupt: KeyboardInterrupt | None = None
    """What the first Ctrl-C raised; the outputs are complete up to there."""
    network_hangs: bool = False
    """True where the network was still in a call when the run had to end: a thread is in it, and only the end of
    the process ends that. The segmenter was told, see :meth:`Stages.abandon`."""

    @property
    def interrupted(self) -> bool:
        """True after Ctrl-C."""
        return self.interrupt is not None

    @property
    def fps(self) -> float:
        """Frames per second of the whole run."""
        return self.frames / self.seconds if self.seconds else 0.0


@dataclass
class _Work:
    frames: list[SourceFrame]
    prepared: Any = None
    outputs: Any = None


@dataclass
class _Run:
    """State that the threads share. Each clock belongs to one thread."""

    source: Source
    segmenter: Stages
    sinks: Sequence[Sink]
    batch: int
    depth: int
    """Inferences under way at once."""
    to_infer: Channel[_Work]
    to_finish: Channel[_Work]
    to_show: Channel[Frame] | None
    tracker: Tracker | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    errors: list[BaseException] = field(default_factory=list)
    decoding: StageClock = field(default_factory=StageClock)
    inferring: StageClock = field(default_factory=StageClock)
    finishing: StageClock = field(default_factory=StageClock)
    unconverged: int = 0
    ended: float | None = None
    """When it was first told to end, by :func:`time.monotonic`."""
    network_hangs: bool = False

    def read(self) -> None:
        """First thread. An error ends the stream; what was read before it goes on through the other stages."""
        waiting: list[SourceFrame] = []
        try:
            frames = iter(self.source)
            while not self.stop.is_set():
                start = time.perf_counter()
                try:
                    frame = next(frames, None)
                except BaseException as error:
                    self.errors.append(error)
                    frame = None
                if frame is not None:
                    waiting.append(frame)
                if waiting and (frame is None or len(waiting) == self.batch):
                    work = _Work(waiting)
                    if not self.source.live:
                        work.prepared = self.segmenter.prepare([each.image for each in waiting])
                    waiting = []
                    self.decoding.add(time.perf_counter() - start)
                    if not self.to_infer.put(work):
                        return
                elif frame is not None:
                    self.decoding.add(time.perf_counter() - start)
                if frame is None:
                    return
        except BaseException as error:
            self.errors.append(error)
        finally:
            self.to_infer.finish()

    def infer(self) -> None:
        """Second thread. An error stops the first; what was inferred before it is still written."""
        try:
            for work, outputs, seconds in overlapped(self.to_infer, self._begin, self.depth):
                work.outputs = outputs
                self.inferring.add(seconds, len(work.frames))
                if not self.to_finish.put(work):
                    return
        except BaseException as error:
            self.errors.append(error)
        finally:
            self.to_infer.abort()
            self.to_finish.finish()

    def _begin(self, work: _Work) -> Pending[Any]:
        if work.prepared is None:
            work.prepared = self.segmenter.prepare([frame.image for frame in work.frames])
        return self.segmenter.submit(work.prepared)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.sinks, self.to_show, self.fail)

    def fail(self, error: BaseException) -> None:
        """A sink failed: read and infer no more."""
        self.errors.append(error)
        self.stop.set()
        self.to_finish.abort()
        self.to_infer.abort()

    def finish(self) -> None:
        """Third thread; the threads behind it own the sinks. An error stops the others."""
        try:
            self.lanes.start()
            while (work := self.to_finish.get()) is not None:
                start = time.perf_counter()
                items = []
                for frame, result in zip(
                    work.frames, self.segmenter.finish(work.prepared, work.outputs), strict=True
                ):
                    items.append(Finished(frame, follow(self.tracker, frame, result) if self.tracker else result))
                    self.unconverged += not result.converged
                self.finishing.add(time.perf_counter() - start, len(work.frames))
                if not all(self.lanes.put(item) for item in items):
                    return
        except BaseException as error:
            self.errors.append(error)
        finally:
            self.stop.set()
            self.to_finish.abort()
            self.to_infer.abort()
            self.lanes.finish()
            self.done.set()

    @property
    def clocks(self) -> dict[str, StageClock]:
        """Of all stages, in the order in which a frame passes them."""
        return {
            "decode": self.decoding,
            "infer": self.inferring,
            "finish": self.finishing,
            **self.lanes.clocks,
        }

    def stage_times(self) -> dict[str, float]:
        """Median milliseconds a frame of each stage so far, for any thread."""
        times: dict[str, float] = {}
        for name, clock in self.clocks.items():
            # Its own thread may add to it meanwhile.
            with contextlib.suppress(RuntimeError):
                times[name] = clock.time.frame_ms
        return times

    def end_early(self, *, drop: bool = False) -> None:
        """Take no more frames; ``drop`` those that were read, too."""
        self.ended = self.ended or time.monotonic()
        self.stop.set()
        self.source.stop()
        self.to_infer.abort()
        if drop:
            self.to_finish.abort()
            self.lanes.abort()

    def leave_hanging_network(self) -> None:
        """After :meth:`end_early`: write what there is without a network that does not come back."""
        if self.ended is not None and time.monotonic() - self.ended > self.patience:
            self.to_finish.finish()

    @property
    def patience(self) -> float:
        """Seconds in which an inference should have ended."""
        return max(_NETWORK_SECONDS, _NETWORK_INFERENCES * self.batch * self.inferring.time.frame_ms / 1000)

    def wait_for_network(self, thread: threading.Thread) -> None:
        """After the sinks were closed: let the second thread end, or find that it hangs."""
        thread.join(max(0.0, (self.ended or time.monotonic()) + self.patience - time.monotonic()))
        if thread.is_alive():
            self.network_hangs = True
            self.segmenter.abandon()


def run_pipeline(
    source: Source,
    segmenter: Stages,
    sinks: Sequence[Sink],
    *,
    batch: int = 1,
    tracker: Tracker | None = None,
    screen: Screen | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> RunStats:
    """Run every frame of a source through a segmenter into all sinks, in order.

    Call it from the main thread: that one shows, reports progress and takes Ctrl-C. All sinks are closed when it
    returns or raises.

    Args:
        source: open; the caller closes it.
        segmenter: see :class:`Stages`.
        sinks: may be empty.
        batch: frames per inference; a live source always has 1.
        tracker: gives the objects numbers that last; a new one.
        screen: shows the overlay of the latest frame; its keys end the run.
        on_progress: gets the number of frames that are done, about ten times a second.

    Returns:
        Counts and times. After Ctrl-C too, with ``interrupted`` set; a second Ctrl-C drops what waits in queues. A
        network that does not come back then is left behind, with ``network_hangs`` set.

    Raises:
        KeyboardInterrupt: a third Ctrl-C; a sink may be incomplete, and a thread in it.
        SegoptError, or whatever else a stage raised first. What came before it is in the sinks.
    """
    run = _Run(
        source,
        segmenter,
        sinks,
        batch=1 if source.live else batch,
        # A live frame that waits behind another one in the network only grows old there.
        depth=1 if source.live else segmenter.depth,
        to_infer=Channel(1 if source.live else _QUEUE, latest_only=source.live),
        to_finish=Channel(_QUEUE),
        to_show=Channel(1, latest_only=True) if screen else None,
        tracker=tracker,
    )
    for sink in sinks:
        sink.watch(run.stage_times)
    start = time.perf_counter()
    threads = [
        threading.Thread(target=stage, name=f"segopt-{stage.__name__}", daemon=True)
        for stage in (run.read, run.infer, run.finish)
    ]
    interrupts: list[KeyboardInterrupt] = []
    while True:
        try:
            # A thread whose start a signal breaks off would be started twice, or never.
            with held():
                for thread in threads:
                    if thread.ident is None:
                        thread.start()
            while not run.done.wait(_SHOW_SECONDS if screen else _POLL_SECONDS):
                run.leave_hanging_network()
                if on_progress is not None:
                    on_progress(run.lanes.frames)
                if screen is not None and run.to_show is not None and not _show_latest(screen, run.to_show):
                    run.end_early()
            break
        except KeyboardInterrupt as interrupt:
            interrupts.append(interrupt)
            if len(interrupts) > _PATIENT_INTERRUPTS:
                raise
            run.end_early(drop=len(interrupts) > 1)
        except BaseException:
            # Where no more threads can be started there may be no last stage, which takes what waits and says that
            # all is done.
            run.end_early(drop=threads[-1].ident is None)
            while threads[-1].ident is not None and not run.done.wait(_POLL_SECONDS):
                run.leave_hanging_network()
            if threads[-1].ident is None:
                run.lanes.finish()
            if threads[1].ident is not None:
                run.wait_for_network(threads[1])
            raise
    seconds = time.perf_counter() - start
    reader, network, finisher = threads
    finisher.join()
    run.wait_for_network(network)
    # A read from a dead camera or network may hang for as long as it likes: its thread is a daemon.
    reader.join(_READER_SECONDS)
    if on_progress is not None:
        on_progress(run.lanes.frames)
    if run.errors:
        error = run.errors[0]
        raise error.of(run.lanes.frames) if isinstance(error, SourceBrokenError) else error
    return RunStats(
        frames=run.lanes.frames,
        dropped=run.to_infer.dropped,
        seconds=seconds,
        stages={name: clock.time for name, clock in run.clocks.items()},
        unconverged=run.unconverged,
        objects=None if tracker is None else tracker.count,
        saved=saved_by(sinks),
        notes=tuple(note for sink in sinks for note in sink.notes),
        interrupt=interrupts[0] if interrupts else None,
        network_hangs=run.network_hangs,
    )


def saved_by(sinks: Sequence[Sink]) -> tuple[Saved, ...]:
    """What sinks wrote, without those that got no frame."""
    return tuple(Saved(sink.label, sink.path, sink.count) for sink in sinks if sink.count)


def _show_latest(screen: Screen, pictures: Channel[Frame]) -> bool:
    picture = pictures.take()
    return screen.poll() if picture is None else screen.show(picture)
