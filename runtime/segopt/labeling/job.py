"""The job: what an output folder is for, in ``job.json``, so that a later run goes on with it and nothing else."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from segopt.errors import CardError, SinkError, what_is_wrong
from segopt.files.atomic import sink_error, write_json
from segopt.files.hashing import sha256_of_file
from segopt.files.lock import LOCK_NAME
from segopt.labeling.units import Unit
from segopt.model.card import MODES, Mode
from segopt.model.fields import fraction, one_of, text, texts_by_name, whole
from segopt.thresholds import Thresholds
from segopt.version import __version__, installed_version

Format = Literal["coco", "webdataset"]
FORMATS: tuple[Format, ...] = get_args(Format)
JOB_NAME = "job.json"
_SCHEMA = 1
_SOFTWARE = ("numpy", "opencv-python-headless", "av", "onnxruntime", "onnxruntime-gpu", "tensorrt", "ray")


@dataclass(frozen=True)
class Job:
    """All that decides what a shard holds, and the units."""

    engine: str
    """Path of the model file, which every worker reads."""
    sha256: str
    """Of that file."""
    view: Mode
    thresholds: Thresholds
    track: bool
    format: Format
    versions: Mapping[str, str]
    """Software that began the job, by name."""
    units: tuple[Unit, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "schema": _SCHEMA,
            "engine": {"file": self.engine, "sha256": self.sha256},
            "view": self.view,
            "thresholds": asdict(self.thresholds),
            "track": self.track,
            "format": self.format,
            "versions": dict(self.versions),
            "units": [unit.to_json() for unit in self.units],
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Job:
        """Read what :meth:`to_json` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is no job.
        """
        if members["schema"] != _SCHEMA:
            raise ValueError(f"schema {str(members['schema'])[:20]!r}, and this segopt reads {_SCHEMA}")
        limits = members["thresholds"]
        return cls(
            engine=members["engine"]["file"],
            sha256=text(members["engine"]["sha256"], "sha256"),
            view=one_of(MODES, members["view"], "view"),
            thresholds=Thresholds(
                fraction(limits["score"], "score"),
                fraction(limits["overlap"], "overlap"),
                whole(limits["stuff_area"], 0, "stuff_area"),
            ),
            track=bool(members["track"]),
            format=one_of(FORMATS, members["format"], "format"),
            versions=texts_by_name(members["versions"], "versions"),
            units=tuple(Unit.from_json(unit) for unit in members["units"]),
        )

    def save(self, output: Path) -> None:
        """Write ``job.json`` whole.

        Raises:
            SinkError: it cannot be written.
        """
        write_json(output / JOB_NAME, self.to_json())

    def with_units(self, units: Sequence[Unit]) -> Job:
        """The same with more units."""
        return replace(self, units=(*self.units, *units))


def software() -> dict[str, str]:
    """Versions that a result may hang on, of what is installed."""
    found = {"segopt": __version__, "python": platform.python_version()}
    versions = {name: installed_version(name) for name in _SOFTWARE}
    return found | {name: version for name, version in versions.items() if version is not None}


def hash_of(engine: Path) -> str:
    """SHA-256 of a model file.

    Raises:
        CardError: it cannot be read.
    """
    try:
        return sha256_of_file(engine)
    except OSError as error:
        raise CardError(f"{engine}: cannot be read ({error.strerror}); check name and permissions") from None


def open_job(output: Path, wanted: Job) -> Job:
    """The job of an output folder: the one that is there, or this one in a new or empty folder.

    Raises:
        SinkError: the folder is for another job, or not for a job at all.
    """
    path = output / JOB_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if any(each.name != LOCK_NAME for each in output.iterdir()):
            raise SinkError(
                f"{output}: has files in it and no {JOB_NAME}, so it is not the folder of a job; give a new one "
                "with --output"
            ) from None
        return wanted
    except OSError as error:
        raise sink_error(path, error) from None
    try:
        job = Job.from_json(json.loads(data))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise SinkError(
            f"{path}: is damaged ({what_is_wrong(error)}); give another folder with --output"
        ) from None
    for what, was, now in (
        ("engine", f"{job.engine} ({job.sha256[:12]})", f"{wanted.engine} ({wanted.sha256[:12]})"),
        ("view", job.view, wanted.view),
        ("score threshold", job.thresholds.score, wanted.thresholds.score),
        ("overlap threshold", job.thresholds.overlap, wanted.thresholds.overlap),
        ("stuff area", job.thresholds.stuff_area, wanted.thresholds.stuff_area),
        ("tracking", _on(job.track), _on(wanted.track)),
        ("format", job.format, wanted.format),
    ):
        if (job.sha256 != wanted.sha256) if what == "engine" else was != now:
            raise SinkError(
                f"{output}: belongs to another job, whose {what} is {was} and not {now}; give another folder with "
                "--output, or that job's options"
            )
    return job


def _on(flag: bool) -> str:
    return "on" if flag else "off"
