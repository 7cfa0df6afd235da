"""Reads COCO's JSON files, believing nothing: https://cocodataset.org/#format-data."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from segopt.model.categories import Category, is_void
from segopt.pixel_limit import too_large
from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.coco_objects import read_object
from segopt_bench.evaluation.json_values import flag, image_id, path_inside, shown, text, whole
from segopt_bench.evaluation.panoptic_quality import SegmentLabel
from segopt_bench.evaluation.problems import EvaluationError, LeftOut
from segopt_bench.evaluation.truth import InstanceTruth, PanopticEntry, PanopticTruth, SemanticTruth

_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


def read_json(path: Path) -> Any:
    """A JSON document, in UTF-8, 16 or 32, with a byte-order mark or without.

    Raises:
        EvaluationError: missing, unreadable or no JSON.
    """
    try:
        if path.exists() and not path.is_file():
            raise EvaluationError(f"{path}: is no plain file; name the JSON file itself")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read ({error.strerror}); check name and permissions") from None
    except (ValueError, RecursionError):
        raise EvaluationError(f"{path}: is no JSON, or cut short; copy it again") from None


def kind_of(document: Any, name: str) -> str | None:
    """``panoptic`` or ``instances``; None for anything else.

    Args:
        document: of the file.
        name: of the file: it tells what a list of no annotations is.
    """
    annotations = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(annotations, list) or not isinstance(document.get("categories"), list):
        return None
    if not annotations:
        return "panoptic" if name.startswith("panoptic") else "instances"
    entries = [entry for entry in annotations if isinstance(entry, dict)]
    if any("segments_info" in entry for entry in entries):
        return "panoptic"
    return "instances" if any({"bbox", "segmentation"} & entry.keys() for entry in entries) else None


def panoptic_truth(path: Path, document: Any) -> PanopticTruth:
    """COCO panoptic: the PNGs lie in the folder of the JSON file's stem, next to it.

    Raises:
        EvaluationError: it is no such document, or the folder is missing.
    """
    folder = path.with_suffix("")
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such folder; {path.name} wants its PNGs there")
    try:
        classes = _classes(document["categories"])
        images = _list(document.get("images", []), "images")
        names = {image_id(image["id"]): text(image["file_name"], "a file_name") for image in images}
        places = {image_id(image["id"]): _place(image) for image in images}
    except _DAMAGE as error:
        raise _damaged(path, "panoptic", error) from None
    known = {entry.id for entry in classes}
    pictures: dict[str, PanopticEntry] = {}
    left_out: list[LeftOut] = []
    for number, annotation in enumerate(document["annotations"], start=1):
        try:
            entry = _panoptic_entry(annotation, folder, names, known)
            video, time = places.get(entry.image_id, (None, None))
            entry = replace(entry, video=video, time=time)
            _put(pictures, key_of(entry.file_name), entry)
        except _DAMAGE as error:
            left_out.append(LeftOut(_picture_of(annotation, number, names), _reason(error), "panoptic"))
    if left_out and not pictures:
        raise _damaged(path, "panoptic", ValueError(f"{left_out[0].picture} {left_out[0].reason}"))
    return PanopticTruth(path, classes, pictures, tuple(left_out))


def _place(image: Mapping[str, Any]) -> tuple[int | str | None, float | None]:
    """Which video an image is a frame of, as COCO-VPS and YouTube-VIS name it, and when in it."""
    video, time = image.get("video_id"), image.get("time")
    seconds = float(time) if isinstance(time, int | float) and math.isfinite(time) else None
    return None if video is None else image_id(video), seconds


def _panoptic_entry(
    annotation: Any, folder: Path, names: Mapping[int | str, str], known: set[int]
) -> PanopticEntry:
    png = text(annotation["file_name"], "its file_name")
    identity = image_id(annotation["image_id"])
    segments = tuple(
        SegmentLabel(
            whole(info["id"], "a segment's id"),
            whole(info["category_id"], "a segment's category"),
            flag(info.get("iscrowd", 0), "a segment's iscrowd"),
        )
        for info in _list(annotation["segments_info"], "segments_info")
    )
    for segment in segments:
        if segment.category_id not in known:
            raise ValueError(f"has category {segment.category_id} for segment {segment.id}")
        if not 0 < segment.id < 1 << 24:
            raise ValueError(f"has a segment with id {segment.id}")
    if len({segment.id for segment in segments}) < len(segments):
        raise ValueError("has two segments with one id")
    return PanopticEntry(identity, names.get(identity, png), path_inside(folder, png), segments)


def instance_truth(path: Path, document: Any) -> InstanceTruth:
    """COCO instances.

    Objects that cannot be evaluated are left out one by one and listed; ids become numbers from 1 on.

    Raises:
        EvaluationError: it is no such document, or not one of its objects can be evaluated.
    """
    try:
        classes = _classes(document["categories"], thing=True)
        pictures: dict[str, Mapping[str, Any]] = {}
        images: dict[int | str, Mapping[str, Any]] = {}
        for number, image in enumerate(_list(document["images"], "images"), start=1):
            entry = _image(image, number)
            if images.setdefault(identity := image_id(image["id"]), entry) is not entry:
                raise ValueError(f"two images have the id {shown(identity)}")
            _put(pictures, key_of(entry["file_name"]), entry)
    except _DAMAGE as error:
        raise _damaged(path, "instances", error) from None
    known = {entry.id for entry in classes}
    objects: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for number, annotation in enumerate(document["annotations"], start=1):
        try:
            objects.append(read_object(annotation, len(objects) + 1, known, images))
        except _DAMAGE as error:
            left_out.append(LeftOut(_name_of(annotation, number), _reason(error), "instance"))
    if left_out and not objects:
        raise _damaged(path, "instances", ValueError(f"{left_out[0].picture} {left_out[0].reason}"))
    checked = {
        "images": list(pictures.values()),
        "annotations": objects,
        "categories": [{"id": entry.id, "name": entry.name} for entry in classes],
    }
    has_masks = all("segmentation" in entry for entry in objects)
    return InstanceTruth(path, classes, checked, pictures, has_masks, tuple(left_out))


def _image(image: Mapping[str, Any], number: int) -> dict[str, Any]:
    height, width = (whole(image[side], f"an image's {side}") for side in ("height", "width"))
    if height < 1 or width < 1:
        raise ValueError(f"an image has {width}x{height} pixels")
    if (trouble := too_large(height, width)) is not None:
        raise ValueError(f"image {shown(image['id'])} {trouble}")
    return {"id": number, "file_name": text(image["file_name"], "a file_name"), "height": height, "width": width}


def semantic_truth(folder: Path, class_file: Path | None) -> SemanticTruth:
    """A folder of index PNGs, whose classes a JSON file names: a list of names or of COCO categories, by index.

    Raises:
        EvaluationError: the file is no such list.
    """
    maps = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".png"}
    if class_file is None:
        return SemanticTruth(folder, None, maps)
    document = read_json(class_file)
    entries: Any = document.get("categories") if isinstance(document, dict) else document
    try:
        named = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
        classes = [
            TruthClass(i, text(entry["name"], "a class's name"), flag(entry.get("isthing", 0), "isthing"))
            for i, entry in enumerate(named)
        ]
    except _DAMAGE:
        raise EvaluationError(f"{class_file}: must be a list of class names, or of COCO categories") from None
    if not 0 < len(classes) <= 256:
        raise EvaluationError(f"{class_file}: names {len(classes)} classes; an index map has 1 to 256")
    void = frozenset({255, *(entry.id for entry in classes if is_void(entry.name))})
    return SemanticTruth(folder, tuple(entry for entry in classes if entry.id not in void), maps, void)


def categories_of(classes: Iterable[TruthClass]) -> list[Category]:
    """The same classes in the form that a model's card has."""
    return [Category(entry.id, entry.name, entry.is_thing, (0, 0, 0)) for entry in classes]


def key_of(file_name: str) -> str:
    """What pictures and annotations are matched by: the stem of a picture's name.

    Cityscapes' panoptic JSON calls the picture ``X_leftImg8bit.png`` by ``X_gtFine_leftImg8bit.png``.
    """
    return re.sub(r"_gt(Fine|Coarse)(?=_leftImg8bit$)", "", PurePosixPath(file_name.replace("\\", "/")).stem)


def _classes(categories: Any, *, thing: bool = False) -> tuple[TruthClass, ...]:
    classes = tuple(
        TruthClass(
            whole(entry["id"], "a category's id"),
            text(entry["name"], "a category's name"),
            thing or flag(entry.get("isthing", 1), "isthing"),
        )
        for entry in _list(categories, "categories")
    )
    if len({entry.id for entry in classes}) < len(classes):
        raise ValueError("two categories have one id")
    return classes


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is no list")
    return value


def _put(pictures: dict[str, Any], key: str, entry: Any) -> None:
    if key in pictures:
        raise ValueError(f"two pictures are called {key}")
    pictures[key] = entry


def _picture_of(annotation: Any, number: int, names: Mapping[int | str, str]) -> str:
    """The key of an annotation's picture; where that cannot be told, what the annotation is called."""
    try:
        return key_of(names[image_id(annotation["image_id"])])
    except _DAMAGE:
        return _name_of(annotation, number)


def _name_of(annotation: Any, number: int) -> str:
    """What an annotation is called in a list of those that were left out."""
    for field in ("id", "file_name", "image_id"):
        if isinstance(annotation, dict) and type(annotation.get(field)) in (int, str):
            return f"annotation {shown(annotation[field])}"
    return f"annotation number {number}"


def _reason(error: Exception) -> str:
    return f"lacks {error.args[0]!r}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]


def _damaged(path: Path, kind: str, error: Exception) -> EvaluationError:
    what = f"it {_reason(error)}" if isinstance(error, KeyError) else _reason(error)
    return EvaluationError(f"{path}: is no valid COCO {kind} file ({what})")
