"""Scenes as files: pictures, and their ground truth in the COCO formats and as index maps.

A folder holds::

    images/000000.jpg      quality 95
    panoptic/000000.png    id = R + 256 G + 65536 B
    panoptic.json          COCO panoptic
    instances.json         COCO instances: things with RLE masks
    semantic/000000.png    gray, one index a pixel
    classes.json           names of the indices, as ``segopt export`` reads them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from segopt.coco.forms import panoptic_document
from segopt.coco.rle import rle_of
from segopt.files.atomic import make_folder, write_image, write_json
from segopt.masks.label_runs import LabelRuns
from segopt.sinks.mp4 import VideoWriter
from segopt_bench.scenes.categories import CATEGORIES, THINGS
from segopt_bench.scenes.scene import Rendered, Scene

Size = tuple[int, int]
"""Height and width in pixels."""

Progress = Callable[[int], None]
"""Is told how many pictures are done."""


def write_dataset(folder: Path, seeds: Sequence[int], size: Size, *, progress: Progress | None = None) -> None:
    """Write one picture of each scene, at time 0, with its ground truth.

    Args:
        folder: is made; files of the same names are replaced.
        seeds: of the scenes. Picture ``i`` (its ``id`` in the JSON files) shows ``seeds[i]``.
        size: of the pictures.
        progress: called after each picture.

    Raises:
        SinkError: something cannot be written.
    """
    _write(folder, (Scene(seed).render(*size) for seed in seeds), size, progress)


def write_clip(
    folder: Path,
    seed: int,
    size: Size,
    *,
    frames: int,
    rate: Fraction = Fraction(15),
    progress: Progress | None = None,
) -> Path:
    """Write one scene over time: every frame as :func:`write_dataset` does, and ``video.mp4``.

    An object has the same segment id in all frames, which ``video_id`` of the images says.

    Args:
        folder: is made; files of the same names are replaced.
        seed: of the scene.
        size: of the frames.
        frames: how many.
        rate: frames per second.
        progress: called after each frame.

    Returns:
        Path of the video.

    Raises:
        SinkError: something cannot be written, or there is no H.264 encoder.
    """
    make_folder(folder)
    path = folder / "video.mp4"
    with VideoWriter(path, rate=rate) as video:

        def pictures() -> Iterator[Rendered]:
            for rendered in render_clip(seed, size, frames=frames, rate=rate):
                video.write(rendered.frame)
                yield rendered

        _write(folder, pictures(), size, progress, rate)
    return path


def render_clip(seed: int, size: Size, *, frames: int, rate: Fraction = Fraction(15)) -> Iterator[Rendered]:
    """The frames of a scene over time; arguments as in :func:`write_clip`."""
    scene = Scene(seed)
    for i in range(frames):
        yield scene.render(*size, time=float(i / rate))


def instance_annotations(rendered: Rendered, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """COCO instance annotations of a picture's things.

    Args:
        rendered: the picture.
        image_id: its id.
        first_id: id of the first annotation.

    Returns:
        Dicts with ``id``, ``image_id``, ``category_id``, ``iscrowd``, ``area``, ``bbox`` (x, y, width, height in
        pixels) and ``segmentation`` (compressed RLE).
    """
    runs = LabelRuns.of(rendered.segment_map)
    position = {int(label): k for k, label in enumerate(runs.labels)}
    return [
        {
            "id": first_id + i,
            "image_id": image_id,
            "category_id": thing.category_id,
            "iscrowd": 0,
            "area": thing.area,
            "bbox": list(runs.box(position[thing.id])),
            "segmentation": rle_of(runs, position[thing.id]),
        }
        for i, thing in enumerate(rendered.things)
    ]


def _write(
    folder: Path,
    pictures: Iterable[Rendered],
    size: Size,
    progress: Progress | None,
    rate: Fraction | None = None,
) -> None:
    """Pictures, or with a rate the frames of one video, as COCO-VPS marks them."""
    for name in ("images", "panoptic", "semantic"):
        make_folder(folder / name)
    images: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    for i, rendered in enumerate(pictures):
        stem = f"{i:06d}"
        png, annotation = rendered.panoptic().to_coco_panoptic(i, f"{stem}.png")
        write_image(folder / "images" / f"{stem}.jpg", rendered.frame)
        write_image(folder / "panoptic" / f"{stem}.png", png)
        write_image(folder / "semantic" / f"{stem}.png", rendered.classes)
        place = {} if rate is None else {"video_id": 1, "frame_id": i, "time": float(i / rate)}
        images.append({"id": i, "file_name": f"{stem}.jpg", "height": size[0], "width": size[1], **place})
        segments.append(annotation)
        instances += instance_annotations(rendered, i, len(instances) + 1)
        if progress is not None:
            progress(i + 1)
    document = panoptic_document(images, segments, CATEGORIES)
    document["info"] = {"description": "Synthetic street scenes by segopt_bench.scenes", "version": "1.0"}
    write_json(folder / "panoptic.json", document)
    write_json(folder / "classes.json", {"categories": document["categories"]})
    things = panoptic_document([], [], THINGS)["categories"]
    write_json(
        folder / "instances.json",
        {**document, "annotations": instances, "categories": things},
    )
