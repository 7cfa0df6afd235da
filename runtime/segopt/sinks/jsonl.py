"""One line of JSON for each frame, for other programs: a file that grows, or standard output."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segopt.coco.rle import rle_of
from segopt.errors import SinkError
from segopt.files.atomic import exists_error, sink_error
from segopt.results import InstanceResult, PanopticResult
from segopt.sinks.base import Finished, Sink

_MICROSECONDS = 6


def frame_record(item: Finished, source: str, *, masks: bool = False) -> dict[str, Any]:
    """What a line says of a frame.

    Returns:
        ``source``, ``frame`` (its number, from 0), ``time`` (seconds, None for pictures), ``width``, ``height``,
        ``converged``, and ``segments``: a list of ``id``, ``track`` (None where nothing tracks), ``category_id``,
        ``name``, ``isthing``, ``score``, ``area`` (pixels), ``bbox`` (x, y, width, height in pixels), ``age``
        (seconds, None as ``track``) and, with ``masks``, ``rle`` (COCO's compressed form).
    """
    height, width = item.result.size
    return {
        "source": source,
        "frame": item.index,
        "time": None if item.time is None else round(float(item.time), _MICROSECONDS),
        "width": width,
        "height": height,
        "converged": bool(item.result.converged),
        "segments": list(_segments(item, masks=masks)),
    }


def _segments(item: Finished, *, masks: bool) -> Iterable[dict[str, Any]]:
    result = item.result
    if isinstance(result, PanopticResult):
        labels = result.runs.labels.tolist() if masks else []
        rles = {label: rle_of(result.runs, k) for k, label in enumerate(labels)}
        for segment, box in zip(result.segments, result.boxes.tolist(), strict=True):
            yield {
                "id": segment.id,
                "track": segment.track,
                "category_id": segment.category_id,
                "name": segment.name,
                "isthing": segment.is_thing,
                "score": round(segment.score, 5),
                "area": segment.area,
                "bbox": _bbox(box),
                "age": _age(segment.age),
                **({"rle": rles.get(segment.id)} if masks else {}),
            }
    elif isinstance(result, InstanceResult):
        entries = result.to_coco(0) if masks else [{}] * len(result)
        for i, (instance, entry) in enumerate(zip(result, entries, strict=True)):
            yield {
                "id": i + 1 if instance.track is None else instance.track,
                "track": instance.track,
                "category_id": instance.label,
                "name": instance.name,
                "isthing": True,
                "score": round(instance.score, 5),
                "area": instance.crop.area,
                "bbox": _bbox(instance.box.tolist()),
                "age": None if result.ages is None else _age(float(result.ages[i])),
                **({"rle": entry["segmentation"]} if masks else {}),
            }
    else:
        runs, names = result.runs, result.names
        for k, label in enumerate(runs.labels.tolist()):
            if label not in names:
                continue
            yield {
                "id": label,
                "track": None,
                "category_id": label,
                "name": names[label],
                "isthing": False,
                "score": 1.0,
                "area": runs.area(k),
                "bbox": list(runs.box(k)),
                "age": None,
                **({"rle": rle_of(runs, k)} if masks else {}),
            }


def _bbox(box: list[float]) -> list[float]:
    x0, y0, x1, y1 = (round(side, 2) for side in box)
    return [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]


def _age(age: float | None) -> float | None:
    return None if age is None else round(age, 3)


class _Lines(Sink):
    """Lines into an open file, each handed over whole and at once."""

    label = "JSON lines"

    def __init__(self, source: str, *, masks: bool) -> None:
        self._source, self._masks = source, masks
        self._file = -1

    def write(self, item: Finished) -> None:
        """Write the frame's line."""
        record = frame_record(item, self._source, masks=self._masks)
        self._put(
            (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")
        )
        self.count += 1

    def _put(self, line: bytes) -> None:
        raise NotImplementedError


class JsonLines(_Lines):
    """``segments.jsonl``, under its own name from the start: others read it while it grows."""

    def __init__(self, path: Path, source: str, *, masks: bool = False, overwrite: bool = False) -> None:
        """Make the file, empty.

        Raises:
            SinkError: the folder cannot be written; or the file exists, and is not to be overwritten.
        """
        super().__init__(source, masks=masks)
        self.path = path
        try:
            if overwrite:
                path.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = os.open(path, flags, 0o666)
        except FileExistsError:
            raise exists_error(path) from None
        except OSError as error:
            raise sink_error(path, error) from None

    def _put(self, line: bytes) -> None:
        end = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, "")
        except OSError as error:
            # Half a line would not parse.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end)
            raise sink_error(self.path, error) from None

    def close(self) -> None:
        """Close the file; one without a line is removed."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            if not self.count:
                with contextlib.suppress(OSError):
                    self.path.unlink()


class StandardOutput:
    """Standard output for lines alone: what else would be printed there goes to standard error from now on."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self.turn = threading.Lock()
        """Whose lines are long takes its time to write one, and others wait."""
        self.file = os.dup(1)
        os.dup2(2, 1)


class JsonLinesOut(_Lines):
    """Lines on standard output."""

    label = "JSON lines"
    path = Path("-")

    def __init__(self, source: str, out: StandardOutput, *, masks: bool = False) -> None:
        super().__init__(source, masks=masks)
        self._out = out

    def _put(self, line: bytes) -> None:
        rest = memoryview(line)
        try:
            with self._out.turn:
                while rest:
                    rest = rest[os.write(self._out.file, rest) :]
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise SinkError(
                    "--jsonl -: the program that reads the lines has ended; the run ends, too"
                ) from None
            raise SinkError(
                f"--jsonl -: standard output cannot be written ({os.strerror(error.errno or 0)})"
            ) from None
