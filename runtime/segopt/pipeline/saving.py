"""A model over a whole source, its results into files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segopt.errors import UsageError
from segopt.interrupts import held
from segopt.pipeline.following import tracker_for
from segopt.pipeline.run import RunStats, Saved, run_pipeline, saved_by
from segopt.pipeline.streaming import open_frames
from segopt.segmenter import Segmenter, load
from segopt.sinks.base import Sink
from segopt.sinks.claim import claimed
from segopt.sinks.making import make_sinks, parse_saves
from segopt.sources.base import Source

if TYPE_CHECKING:
    from segopt.sinks.window import Screen


def run(
    segmenter: Segmenter | str | os.PathLike[str],
    source: str | os.PathLike[str] | int | Source,
    *,
    save: str | Iterable[str] = ("overlay",),
    output: str | os.PathLike[str] | None = None,
    track: bool = False,
    overwrite: bool = False,
    stride: int = 1,
    max_frames: int | None = None,
    batch: int | None = None,
    screen: Screen | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_saved: Callable[[Saved], None] | None = None,
) -> RunStats:
    """Run a model over every frame of a source and write the results, as the command ``segopt run`` does.

    Reading, the network, and merging with drawing and encoding work side by side, in threads. Files lose no
    frame; of a live source the latest frame is kept. Ctrl-C, where this runs in the main thread, ends the run in
    order: what was done is complete, and ``interrupted`` of the answer is True. Messages name options as the
    command line does: ``--save`` is ``save``.

    >>> stats = segopt.run("engines/panoptic.onnx", "street.mp4", save=("overlay", "coco"))  # doctest: +SKIP
    >>> print(stats.frames, stats.fps, [saved.path for saved in stats.saved])  # doctest: +SKIP

    Args:
        segmenter: what :func:`segopt.load` gave, which stays open; or the path of a model, which is loaded as it
            is by default and closed again.
        source: a picture, folder, ``'glob*.jpg'``, video file, camera index, ``rtsp://`` or ``http://`` URL, or
            GStreamer pipeline string. For frames of your own see :func:`segopt.stream`.
        save: some of ``overlay`` (drawn pictures, or an MP4), ``panoptic`` (COCO panoptic PNG + json), ``coco``
            (COCO results json), ``jsonl`` (a line a frame; ``rle`` adds masks), and with ``track`` ``step``
            (KITTI-STEP PNGs) and ``ytvis`` (YouTube-VIS json); ``()`` writes nothing.
        output: folder for it; None is ``runs/<name of the source>``.
        track: the same object has the same number in every frame, see :class:`segopt.Tracker`.
        overwrite: earlier outputs in that folder may be replaced; files of the source never are.
        stride: take each ``stride``-th frame, from the first.
        max_frames: stop after so many frames.
        batch: frames per inference; None is the model's own, which is the most.
        screen: an open window that shows the latest overlay.
        on_progress: gets the number of frames that are done, about ten times a second.
        on_saved: gets each file or folder that was written, when the run ends, also where it ends in an error.

    Returns:
        Counts, seconds and what was written.

    Raises:
        SourceError: the source cannot be opened or read.
        SourceBrokenError: it broke off; what came before is written.
        CardError, EngineError: the model does not load or run.
        SinkError: something cannot be written, and what came before is kept; or, before anything is read, a file
            would be replaced, or another run has the folder.
        UsageError: options that do not go together.
    """
    if not isinstance(source, (str, os.PathLike, int, Source)):
        raise UsageError(
            f"run() takes the path or URL of a source, or a camera's index, not {type(source).__name__}; "
            "for frames of your own loop over segopt.stream(segmenter, frames)"
        )
    saves = parse_saves(save if isinstance(save, str) else ",".join(save))
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_frames(source, stride=stride, max_frames=max_frames))
        folder = Path("runs") / opened.name if output is None else Path(output)
        with held():
            stack.enter_context(claimed(saves, folder, opened, overwrite=overwrite))
        if not isinstance(segmenter, Segmenter):
            segmenter = stack.enter_context(load(segmenter, hint="latency" if opened.live else "throughput"))
        return run_claimed(
            segmenter,
            opened,
            saves,
            folder,
            track=track,
            overwrite=overwrite,
            batch=batch,
            screen=screen,
            on_progress=on_progress,
            on_saved=on_saved,
        )


def run_claimed(
    segmenter: Segmenter,
    source: Source,
    saves: Collection[str],
    folder: Path,
    *,
    track: bool = False,
    overwrite: bool = False,
    batch: int | None = None,
    more: Sequence[Sink] = (),
    screen: Screen | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_saved: Callable[[Saved], None] | None = None,
) -> RunStats:
    """:func:`run` with an open source, a loaded model, and a folder that is held (see ``sinks.claim``).

    ``more`` are sinks besides those of ``saves``.
    """
    at_once = batch_of(batch, segmenter.batch)
    tracker = tracker_for(segmenter) if track else None
    with contextlib.ExitStack() as stack:
        with held():
            sinks = make_sinks(saves, folder, source, segmenter.mode, tracked=track, overwrite=overwrite)
            sinks += more
            for sink in sinks:
                stack.enter_context(sink)
        try:
            return run_pipeline(
                source,
                segmenter,
                sinks,
                batch=at_once,
                tracker=tracker,
                screen=screen,
                on_progress=on_progress,
            )
        finally:
            if on_saved is not None:
                for saved in saved_by([sink for sink in sinks if sink not in more]):
                    on_saved(saved)


def batch_of(asked: int | None, engine: int) -> int:
    """Frames per inference, of those that were asked for and those that the model takes.

    Raises:
        UsageError: it takes no such number.
    """
    if asked is None:
        return engine
    if not 1 <= asked <= engine:
        raise UsageError(
            f"--batch {asked}: this model takes 1 to {engine} at once; "
            f"export one with `--batch {max(asked, 1)}` for more"
        )
    return asked
