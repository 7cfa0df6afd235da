"""A job from its sources to its merged answer. What runs the units, here or on a cluster, is handed in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segopt.errors import EngineError, UsageError, printable
from segopt.files.atomic import make_folder, sink_error, write_bytes
from segopt.files.lock import locked
from segopt.files.temporary import leftovers
from segopt.labeling import shards
from segopt.labeling.job import JOB_NAME, Format, Job, hash_of, open_job, software
from segopt.labeling.layout import Layout
from segopt.labeling.listing import find_files
from segopt.labeling.merging import merge_shards
from segopt.labeling.units import Unit, new_units
from segopt.labeling.worker import Report, Settings, Worker
from segopt.model.card import Mode
from segopt.model.reading import read_card
from segopt.thresholds import view_of

Executor = Callable[[Settings, Sequence[Unit]], Iterator[Report]]
"""Does units in any order, gives a report of each, and has no worker alive when it ends or is closed."""


@dataclass(frozen=True)
class Request:
    """What is asked of a job."""

    engine: Path
    """A model file that gives panoptic results."""
    sources: Sequence[str]
    output: Path
    format: Format = "coco"
    track: bool = False
    mode: Mode | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Thresholds, as :func:`segopt.load` takes them; what is left out is the model's own."""
    device: str = "auto"
    threads: int = 1
    """CPU threads of each worker's network."""
    pictures: int = 100
    """Pictures in a unit, at most."""


@dataclass
class Progress:
    """How far a job is."""

    units: int
    """Of the job, in all."""
    before: int
    """Of those, how many an earlier run did."""
    done: int = 0
    """That this run did."""
    frames: int = 0
    """In those."""
    repeated: int = 0
    """Tries that ended with their worker."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    progress: Progress
    failed: tuple[Mapping[str, Any], ...]
    """What ``failed.jsonl`` holds, over all runs."""
    images: int
    """In ``panoptic.json``; 0 where the format has none."""
    notes: tuple[str, ...]


class Watcher:
    """Is told what happens; this one takes no notice."""

    def started(self, progress: Progress) -> None:
        """Units are known."""

    def reported(self, report: Report, progress: Progress) -> None:
        """A unit is done, or failed."""

    def merging(self, done: int, count: int) -> None:
        """So many shards of so many are merged."""


def in_this_process(settings: Settings, units: Sequence[Unit]) -> Iterator[Report]:
    """An :data:`Executor` with one worker and no cluster."""
    worker = Worker(settings)
    for unit in units:
        yield worker(unit)


def label(request: Request, execute: Executor, watcher: Watcher | None = None) -> Outcome:
    """Label sources into an output folder, or go on with it.

    Args:
        request: what to do.
        execute: what does the units.
        watcher: is told what happens.

    Raises:
        SourceError: a source that does not exist, or has nothing in it.
        CardError, EngineError: the model cannot be read, or does not load on a worker.
        UsageError: options that do not go together.
        SinkError: the folder belongs to another job, another run has it, or it cannot be written.
    """
    watcher = watcher or Watcher()
    card = read_card(request.engine)
    view, thresholds = view_of(card, request.engine, request.mode, **request.limits)
    if view != "panoptic":
        raise UsageError(
            f"{request.engine}: gives {view} results, and label writes panoptic ones; use a panoptic model"
            + (" without --mode" if request.mode else "")
        )
    wanted = Job(
        engine=str(request.engine.absolute()),
        sha256=hash_of(request.engine),
        view=view,
        thresholds=thresholds,
        track=request.track,
        format=request.format,
        versions=software(),
    )
    listing = find_files(request.sources, request.output)
    new = not request.output.exists()
    make_folder(request.output)
    layout = Layout(request.output.absolute(), request.format)
    try:
        with locked(request.output):
            job = open_job(request.output, wanted)
            notes = _differences(job, wanted)
            _clean(layout)
            job = job.with_units(new_units(listing.files, job.units, request.pictures))
            if not job.units:
                raise UsageError("the sources name nothing that can be labeled; " + "; ".join(listing.missing[:1]))
            job.save(request.output)
            settings = Settings(
                job=replace(job, engine=wanted.engine, units=()),
                output=str(layout.output),
                device=request.device,
                threads=request.threads,
                limits=dict(request.limits),
            )
            return _run(job, layout, settings, execute, watcher, listing.missing, notes)
    except BaseException:
        if new and not any(shards.names_in(layout.shards)):
            _undo(layout)
        raise


def _undo(layout: Layout) -> None:
    """Nothing came of a new folder: take it away."""
    for name in (JOB_NAME, layout.failed.name):
        (layout.output / name).unlink(missing_ok=True)
    for folder in (layout.shards, layout.output):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _run(
    job: Job,
    layout: Layout,
    settings: Settings,
    execute: Executor,
    watcher: Watcher,
    missing: Sequence[str],
    notes: Sequence[str],
) -> Outcome:
    done = {layout.unit_of(name) for name in shards.names_in(layout.shards)}
    pending = [unit for unit in job.units if unit.name not in done]
    progress = Progress(len(job.units), len(job.units) - len(pending))
    watcher.started(progress)
    failed: list[dict[str, Any]] = [
        {"unit": None, "source": line.partition(": ")[0], "frames": 0, "error": line} for line in missing
    ]
    _write_failed(layout, failed)
    if pending:
        reports = execute(settings, pending)
        try:
            for report in reports:
                if report.fatal:
                    raise EngineError(report.error)
                progress.done += report.kept
                progress.frames += report.frames
                progress.repeated += max(0, report.attempt - 1)
                if report.error:
                    entry: dict[str, Any] = {
                        "unit": report.unit,
                        "source": report.label,
                        "frames": report.frames,
                    }
                    _append_failed(layout, {**entry, "error": report.error})
                    if not report.kept:
                        failed.append({**entry, "error": report.error})
                watcher.reported(report, progress)
        finally:
            close = getattr(reports, "close", None)
            if close is not None:
                close()
            shards.sweep(layout.shards)
    done = {layout.unit_of(name) for name in shards.names_in(layout.shards)}
    failed += _broken(layout, done)
    order = {unit.name: number for number, unit in enumerate(job.units)}
    failed.sort(key=lambda entry: order.get(str(entry["unit"]), -1))
    _write_failed(layout, failed)
    images = merge_shards(job, layout, done, watcher.merging) if job.format == "coco" else 0
    return Outcome(progress, tuple(failed), images, tuple(notes))


def _differences(job: Job, wanted: Job) -> list[str]:
    return [
        f"this job was begun with {name} {was}, and goes on with {wanted.versions[name]}"
        for name, was in job.versions.items()
        if name in wanted.versions and wanted.versions[name] != was
    ]


def _clean(layout: Layout) -> None:
    """Take away what a killed run left: tries of units, and files that were half written."""
    shards.sweep(layout.shards)
    for folder in (layout.output, layout.output / "broken"):
        try:
            if folder.is_dir():
                with leftovers(folder) as found:
                    for left in found:
                        left.path.unlink(missing_ok=True)
        except OSError as error:
            raise sink_error(folder, error) from None


def _broken(layout: Layout, done: set[str]) -> list[dict[str, Any]]:
    """Why units with a shard ended early, in this run or one before."""
    entries: list[dict[str, Any]] = []
    for name in shards.names_in(layout.output / "broken"):
        if name.removesuffix(".json") not in done:
            continue
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            record = json.loads((layout.output / "broken" / name).read_bytes())
            entries.append({key: record[key] for key in ("unit", "source", "frames", "error")})
    return entries


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps({**entry, "error": printable(str(entry["error"]))}).encode() + b"\n"


def _append_failed(layout: Layout, entry: Mapping[str, Any]) -> None:
    # For whoever watches; at the end the file is written anew, in the units' order.
    with contextlib.suppress(OSError), layout.failed.open("ab") as file:
        file.write(_line(entry))


def _write_failed(layout: Layout, entries: Sequence[Mapping[str, Any]]) -> None:
    if entries:
        write_bytes(layout.failed, b"".join(map(_line, entries)))
    else:
        layout.failed.unlink(missing_ok=True)
