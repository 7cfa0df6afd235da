"""Results of a source one after the other, for a loop of the caller's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from segopt.errors import UsageError
from segopt.inputs import frames_of
from segopt.pipeline.channel import Channel
from segopt.pipeline.following import follow, tracker_for
from segopt.segmenter import Segmenter
from segopt.sinks.base import Finished
from segopt.sources.base import Source, SourceFrame
from segopt.sources.given import GivenFrames
from segopt.sources.opening import check_counts, open_source
from segopt.tracking.tracker import Tracker

if TYPE_CHECKING:
    from segopt.inputs import Picture

    Streamable = str | os.PathLike[str] | int | Source | Picture | Iterable[Picture]
    """What :func:`stream` goes over."""


def stream(
    segmenter: Segmenter,
    source: Streamable,
    *,
    stride: int = 1,
    max_frames: int | None = None,
    track: bool = False,
) -> Stream:
    """Segment the frames of a source one after the other.

    One frame is held at a time, whatever the source's length. Of a live source (a camera, an ``rtsp://`` URL)
    frames that come while the last one is worked on are passed over, and the latest is next.

    >>> with segopt.stream(segmenter, "street.mp4") as items:  # doctest: +SKIP
    ...     for item in items:
    ...         print(item.index, item.time, item.result)

    Args:
        segmenter: what :func:`segopt.load` gave; it stays open.
        source: a picture, folder, ``'glob*.jpg'``, video file, camera index, ``rtsp://`` or ``http://`` URL, or
            GStreamer pipeline string; or frames of your own: any iterable of what a segmenter takes, or a batch
            [B, h, w, 3].
        stride: take each ``stride``-th frame, from the first.
        max_frames: stop after so many.
        track: the same object has the same number in every frame, see :class:`segopt.Tracker`.

    Returns:
        An iterator of :class:`~segopt.sinks.base.Finished`: ``frame`` (uint8 BGR [H, W, 3]), ``result``,
        ``overlay`` (the frame with the result drawn onto it, made when first asked for), ``index``, ``name`` and
        ``time``. It closes the source when it ends, is closed, or leaves its ``with`` block.

    Raises:
        SourceError: the source cannot be opened. While iterating: one that cannot be read, or that broke off
            (:class:`~segopt.errors.SourceBrokenError`) after its last good frame.
        ValueError: what is no source; while iterating, a frame that is none.
        UsageError: no segmenter, ``stride`` or ``max_frames`` below 1, or ``track`` with a semantic model.
        EngineError: while iterating: the runtime failed.
    """
    if not isinstance(segmenter, Segmenter):
        raise UsageError(f"stream() takes a segmenter, as segopt.load(path) gives; this is {segmenter!r}")
    tracker = tracker_for(segmenter) if track else None
    return Stream(segmenter, open_frames(source, stride=stride, max_frames=max_frames), tracker)


def open_frames(source: Streamable, *, stride: int = 1, max_frames: int | None = None) -> Source:
    """Open what :func:`stream` takes; a source that is open already stays as it is."""
    if isinstance(source, Source):
        if stride != 1 or max_frames is not None:
            raise UsageError("this source is open already: its stride and limit are set where it is opened")
        return source
    if isinstance(source, (str, os.PathLike, int)):
        return open_source(source, stride=stride, max_frames=max_frames)
    check_counts(stride, max_frames)
    frames, _ = frames_of(source)
    return GivenFrames(frames, stride=stride, max_frames=max_frames)


class Stream:
    """Results of a source, made as they are asked for: an iterator and a context manager."""

    def __init__(self, segmenter: Segmenter, source: Source, tracker: Tracker | None = None) -> None:
        self._segmenter = segmenter
        self._tracker = tracker
        self._source = source
        self._items = self._run()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Finished:
        return next(self._items)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the source; there are no more items. Harmless when repeated."""
        self._items.close()
        self._source.close()

    def _run(self) -> Generator[Finished, None, None]:
        try:
            for frame in _latest(self._source) if self._source.live else self._source:
                result = self._segmenter(frame.image)
                yield Finished(frame, result if self._tracker is None else follow(self._tracker, frame, result))
        finally:
            self._source.close()


def _latest(source: Source) -> Iterator[SourceFrame]:
    """Frames of a live source, read in a thread: of those that wait, the latest."""
    channel: Channel[SourceFrame] = Channel(1, latest_only=True)
    errors: list[BaseException] = []

    def read() -> None:
        try:
            for frame in source:
                if not channel.put(frame):
                    return
        except BaseException as error:
            errors.append(error)
        finally:
            channel.finish()

    threading.Thread(target=read, name="segopt-read", daemon=True).start()
    try:
        while (frame := channel.get()) is not None:
            yield frame
    finally:
        channel.abort()
    if errors:
        raise errors[0]
