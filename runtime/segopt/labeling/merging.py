"""All shards as one ``panoptic.json``, the same whatever order they came in and whatever was killed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from segopt.errors import SinkError, what_is_wrong
from segopt.labeling.job import Job
from segopt.labeling.layout import Layout
from segopt.labeling.units import Unit
from segopt.sinks.json_list import JsonStream


def merge_shards(
    job: Job, layout: Layout, done: set[str], progress: Callable[[int, int], None] = lambda *_: None
) -> int:
    """Write ``panoptic.json``; how many images are in it.

    Shards come in the order of the job's units. Image ids are 1 and up; where all is pictures that are named by
    different numbers, as COCO's are, those numbers. Names of images are unique: one that an earlier shard has gets
    its unit's name before it. Frames of a video have its ``video_id``.

    Args:
        job: whose units.
        layout: of its folder.
        done: names of the units that have a shard.
        progress: gets how many shards of how many are in it.

    Raises:
        SinkError: a shard is damaged, or the file cannot be written.
    """
    units = [unit for unit in job.units if unit.name in done]
    places = {unit.name: place for place, unit in enumerate(job.units, start=1)}
    numbered = bool(units) and _are_numbered(units, layout)
    names = _ImageNames()
    stream: JsonStream | None = None
    images = 0
    try:
        for number, unit in enumerate(units, start=1):
            document = _read(layout, unit)
            if stream is None:
                head = {key: value for key, value in document.items() if key not in ("images", "annotations")}
                stream = JsonStream(layout.merged, key="annotations", head=head)
            for image, annotation in zip(document["images"], document["annotations"], strict=True):
                images += 1
                identity = image["id"] if numbered else images
                file_name = names.take(unit.name, image["file_name"])
                video = {"video_id": places[unit.name]} if unit.kind == "video" else {}
                png = f"{unit.name}/panoptic/{annotation['file_name']}"
                stream.extend(
                    [{**annotation, "image_id": identity, "file_name": png}],
                    {"images": {**image, "id": identity, "file_name": file_name, **video}},
                )
            progress(number, len(units))
    except BaseException as error:
        if stream is not None:
            stream.discard()
        if isinstance(error, (KeyError, TypeError, ValueError, AttributeError)):
            raise _damaged(layout, unit, error) from None
        raise
    if stream is not None:
        stream.close()
    return images


def _read(layout: Layout, unit: Unit) -> dict[str, Any]:
    try:
        document = json.loads((layout.shard(unit.name) / "panoptic.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(layout, unit, error) from None
    if not isinstance(document, dict):
        raise _damaged(layout, unit, TypeError("no object"))
    return document


def _damaged(layout: Layout, unit: Unit, error: Exception) -> SinkError:
    return SinkError(
        f"{layout.shard(unit.name)}: this shard is damaged ({what_is_wrong(error)}); remove it and run again"
    )


def _are_numbered(units: list[Unit], layout: Layout) -> bool:
    """Whether each image is a picture that is named by its id, which no other has."""
    if not all(stem is not None and stem.isascii() and stem.isdigit() for stem in _stems(units)):
        return False
    seen: set[int] = set()
    for unit in units:
        for image in _read(layout, unit).get("images", ()):
            stem = PurePosixPath(image["file_name"]).stem
            if not stem.isdigit() or image["id"] != int(stem) or image["id"] in seen:
                return False
            seen.add(image["id"])
    return True


def _stems(units: list[Unit]) -> Iterator[str | None]:
    for unit in units:
        yield from (None if unit.kind == "video" else PurePosixPath(name).stem for name in unit.files)


class _ImageNames:
    """Names of images, of which no two have one stem: by that evaluations match them."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, unit: str, name: str) -> str:
        path = PurePosixPath(name)
        number, stem = 0, path.stem
        while stem in self._taken:
            number += 1
            stem = f"{unit}-{path.stem}" + (f"-{number}" if number > 1 else "")
        self._taken.add(stem)
        return f"{stem}{path.suffix}"
