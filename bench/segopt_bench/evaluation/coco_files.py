"""Reads COCO's JSON files, believing nothing: https://cocodataset.org/#format-data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segopt.coco.rle import decode_rle
from segopt.errors import what_is_wrong
from segopt.model.categories import Category, is_void
from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.panoptic_quality import SegmentLabel
from segopt_bench.evaluation.problems import EvaluationError
from segopt_bench.evaluation.truth import InstanceTruth, PanopticEntry, PanopticTruth, SemanticTruth

_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def read_json(path: Path) -> Any:
    """A JSON document.

    Raises:
        EvaluationError: missing, unreadable or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(
            f"{path}: cannot be read ({error.strerror}); check the name and your rights"
        ) from None
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
    if not isinstance(annotations[0], dict):
        return None
    if "segments_info" in annotations[0]:
        return "panoptic"
    return "instances" if "bbox" in annotations[0] else None


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
        known = {entry.id for entry in classes}
        names = {_whole(image["id"]): str(image["file_name"]) for image in document.get("images", ())}
        pictures: dict[str, PanopticEntry] = {}
        for annotation in document["annotations"]:
            image_id, png = _whole(annotation["image_id"]), str(annotation["file_name"])
            file_name = names.get(image_id, png)
            segments = tuple(
                SegmentLabel(_whole(info["id"]), _whole(info["category_id"]), bool(info.get("iscrowd", 0)))
                for info in annotation["segments_info"]
            )
            for segment in segments:
                if segment.category_id not in known:
                    raise ValueError(f"segment {segment.id} of {png} has category {segment.category_id}")
                if not 0 < segment.id < 1 << 24:
                    raise ValueError(f"{png} has a segment with id {segment.id}")
            if len({segment.id for segment in segments}) < len(segments):
                raise ValueError(f"{png} has two segments with one id")
            _put(pictures, file_name, PanopticEntry(image_id, file_name, folder / png, segments))
    except _DAMAGE as error:
        raise _damaged(path, "panoptic", error) from None
    return PanopticTruth(path, classes, pictures)


def instance_truth(path: Path, document: Any) -> InstanceTruth:
    """COCO instances.

    Raises:
        EvaluationError: it is no such document.
    """
    try:
        classes = _classes(document["categories"], thing=True)
        known = {entry.id for entry in classes}
        pictures: dict[str, Mapping[str, Any]] = {}
        for image in document["images"]:
            size = {"height": _whole(image["height"]), "width": _whole(image["width"])}
            _put(pictures, str(image["file_name"]), {**image, "id": _whole(image["id"]), **size})
        images = {image["id"]: [image["height"], image["width"]] for image in pictures.values()}
        if len(images) < len(pictures):
            raise ValueError("two images have one id")
        objects = [
            _object(annotation, i, known, images) for i, annotation in enumerate(document["annotations"], 1)
        ]
    except _DAMAGE as error:
        raise _damaged(path, "instances", error) from None
    checked = {
        "images": list(pictures.values()),
        "annotations": objects,
        "categories": [{"id": entry.id, "name": entry.name} for entry in classes],
    }
    return InstanceTruth(path, classes, checked, pictures, all("segmentation" in entry for entry in objects))


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
            TruthClass(i, _text(entry["name"]), bool(entry.get("isthing", 0))) for i, entry in enumerate(named)
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


def _object(
    annotation: Mapping[str, Any], number: int, known: set[int], images: Mapping[int, list[int]]
) -> dict[str, Any]:
    x, y, width, height = (float(side) for side in annotation["bbox"])
    entry: dict[str, Any] = {
        "id": number,
        "image_id": _whole(annotation["image_id"]),
        "category_id": _whole(annotation["category_id"]),
        "iscrowd": int(annotation.get("iscrowd", 0)),
        "area": float(annotation.get("area", width * height)),
        "bbox": [x, y, width, height],
    }
    if entry["category_id"] not in known:
        raise ValueError(f"annotation {annotation.get('id')} has category {entry['category_id']}")
    if entry["image_id"] not in images:
        raise ValueError(f"annotation {annotation.get('id')} is of image {entry['image_id']}")
    if mask := annotation.get("segmentation"):
        _check_mask(mask, images[entry["image_id"]])
        entry["segmentation"] = mask
    return entry


def _check_mask(mask: Any, size: list[int]) -> None:
    """Raise where pycocotools, which reads masks in C, would not."""
    if isinstance(mask, dict):
        if mask["size"] != size:
            raise ValueError(f"a mask is of a picture of {mask['size']}, and its picture is {size}")
        decode_rle(mask)
    elif not all(len(polygon) >= 6 and all(type(v) in (int, float) for v in polygon) for polygon in mask):
        raise ValueError("a mask is neither an RLE nor polygons")


def _classes(categories: Any, *, thing: bool = False) -> tuple[TruthClass, ...]:
    classes = tuple(
        TruthClass(_whole(entry["id"]), _text(entry["name"]), thing or bool(entry.get("isthing", 1)))
        for entry in categories
    )
    if len({entry.id for entry in classes}) < len(classes):
        raise ValueError("two categories have one id")
    return classes


def _put(pictures: dict[str, Any], file_name: str, entry: Any) -> None:
    key = Path(file_name).stem
    if key in pictures:
        raise ValueError(f"two pictures are called {key}")
    pictures[key] = entry


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no name")
    return value


def _damaged(path: Path, kind: str, error: Exception) -> EvaluationError:
    return EvaluationError(f"{path}: is no valid COCO {kind} file ({what_is_wrong(error)})")
