"""What a worker does: one unit after the other, each into a shard, with a model that is loaded once."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segopt.backends.choice import settled
from segopt.errors import (
    CardError,
    EngineError,
    SegoptError,
    SourceBrokenError,
    SourceError,
    UsageError,
    first_line,
)
from segopt.files.atomic import make_folder, sink_error, write_json
from segopt.labeling import remote, shards
from segopt.labeling.job import Job, hash_of
from segopt.labeling.layout import Layout
from segopt.labeling.units import Unit, is_uri, joined
from segopt.segmenter import Segmenter, load
from segopt.sources import Source, open_source
from segopt.sources.pictures import PictureSource


@dataclass(frozen=True)
class Report:
    """What became of a unit."""

    unit: str
    label: str
    """Its files, for messages."""
    frames: int = 0
    """That were written now."""
    seconds: float = 0.0
    attempt: int = 0
    """Which try it was; 0 where it was done already."""
    error: str = ""
    """What went wrong; empty is nothing."""
    kept: bool = True
    """Whether there is a shard."""
    fatal: bool = False
    """Whether it went wrong for the job and not for the unit: the model does not load."""

    def to_json(self) -> str:
        """As a text of ASCII, whatever the files are called."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, data: str) -> Report:
        """Read what :meth:`to_json` gave."""
        return cls(**json.loads(data))


@dataclass(frozen=True)
class Settings:
    """What all workers of a job get."""

    job: Job
    """Without its units."""
    output: str
    device: str
    threads: int
    limits: Mapping[str, Any]
    """Thresholds that were set, as :func:`segopt.load` takes them."""


class Worker:
    """Does units; the model is loaded with the first one, and what goes wrong is told in its report."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._segmenter: Segmenter | None = None

    def __call__(self, unit: Unit) -> Report:
        """Label a unit, unless its shard is there."""
        job, layout = self._settings.job, Layout(Path(self._settings.output), self._settings.job.format)
        start = time.perf_counter()
        if layout.shard(unit.name).exists():
            return Report(unit.name, unit.label)
        if self._segmenter is None:
            try:
                self._segmenter = _load(self._settings)
            except (CardError, EngineError, UsageError) as error:
                return Report(unit.name, unit.label, error=str(error), kept=False, fatal=True)
        try:
            attempt = shards.attempt_for(layout.shards, unit.name)
        except SegoptError as error:
            return Report(unit.name, unit.label, error=str(error), kept=False)
        try:
            frames, error_text = _label(self._segmenter, unit, job, layout, attempt)
        except Exception as error:
            shards.drop(attempt)
            text = str(error) if isinstance(error, SegoptError) else f"{type(error).__name__}: {first_line(error)}"
            return Report(unit.name, unit.label, 0, _since(start), attempt.number, text, kept=False)
        except BaseException:
            shards.drop(attempt)
            raise
        return Report(unit.name, unit.label, frames, _since(start), attempt.number, error_text)


def _label(segmenter: Segmenter, unit: Unit, job: Job, layout: Layout, attempt: shards.Attempt) -> tuple[int, str]:
    """Frames that were written, and why it ended early; empty is that it did not."""
    from segopt.pipeline.saving import run_claimed

    broken = ""
    counts: list[int] = [0]
    with _opened(unit, attempt.folder / "source") as source:
        saves, more = layout.sinks(attempt.folder, unit, source)
        try:
            run_claimed(
                segmenter, source, saves, attempt.folder, track=job.track, more=more, on_progress=counts.append
            )
        except SourceBrokenError as error:
            if not counts[-1]:
                raise
            broken = str(error)
    record = layout.broken(unit.name)
    if broken:
        # Before the shard has its name: then it is done, and nobody would say so again.
        make_folder(record.parent)
        write_json(record, {"unit": unit.name, "source": unit.label, "frames": counts[-1], "error": broken})
    else:
        record.unlink(missing_ok=True)
    shards.complete(attempt, layout.written(attempt.folder), layout.shard(unit.name))
    return counts[-1], broken


@contextlib.contextmanager
def _opened(unit: Unit, folder: Path) -> Iterator[Source]:
    """The source of a unit; remote files are copied here first, and taken away with ``folder`` at the end."""
    copied = is_uri(unit.folder)
    paths = [folder / name if copied else Path(joined(unit.folder, name)) for name in unit.files]
    try:
        if copied:
            _copy(unit, folder)
        elif not any(path.exists() for path in paths):
            raise SourceError(f"{paths[0]}: is not there any more, or not on this machine; mount it on every one")
        source = PictureSource(unit.name, paths) if unit.kind == "pictures" else open_source(paths[0])
        with source:
            yield source
    finally:
        if copied:
            shutil.rmtree(folder, ignore_errors=True)


def _copy(unit: Unit, folder: Path) -> None:
    """Copy the unit's files; of pictures those that can be read, and the others are found to be missing later."""
    make_folder(folder)
    lost: list[SourceError] = []
    for name in unit.files:
        try:
            remote.fetch(unit.folder, name, folder / name)
        except SourceError as error:
            lost.append(error)
        except OSError as error:
            raise sink_error(folder / name, error) from None
    if len(lost) == len(unit.files):
        raise lost[0]


def _load(settings: Settings) -> Segmenter:
    import cv2

    job, path = settings.job, Path(settings.job.engine)
    # On another machine the same path may hold another file.
    if hash_of(path) != job.sha256:
        raise EngineError(f"{path}: is another file on this machine than the job's; give every one the same")
    cv2.setNumThreads(settings.threads)
    # Shards of one job, on however many machines, are computed by one runtime.
    device = settled(settings.device, path)
    return load(path, device=device, mode=job.view, threads=settings.threads, **settings.limits)


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 4)
