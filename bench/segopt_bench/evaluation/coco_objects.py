"""COCO's annotated objects, held against their pictures' sizes before pycocotools, which is C, sees a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segopt.coco.rle import decode_rle
from segopt_bench.evaluation.json_values import flag, image_id, number, shown, whole

Size = tuple[int, int]
"""Height and width in pixels."""

_POINTS = 3
"""A polygon of fewer encloses nothing."""


def read_object(
    annotation: Mapping[str, Any],
    new_id: int,
    known: set[int],
    images: Mapping[int | str, Mapping[str, Any]],
) -> dict[str, Any]:
    """One entry of ``annotations`` with its values checked.

    Args:
        annotation: as the file has it.
        new_id: its new id; pycocotools takes an id of 0 for no match.
        known: ids of the categories.
        images: checked entries of ``images`` by the id that the file gives them.

    Returns:
        ``id``, ``image_id`` (that of the checked entry), ``category_id``, ``iscrowd``, ``area``, ``bbox``, and
        ``segmentation`` where it has one.

    Raises:
        ValueError, KeyError or TypeError: it cannot be evaluated; the text says why.
    """
    image = images.get(image_id(annotation["image_id"]))
    if image is None:
        raise ValueError(f"is of image {shown(annotation['image_id'])}, which the file does not list")
    category = whole(annotation["category_id"], "its category")
    if category not in known:
        raise ValueError(f"has category {category}, which the file does not list")
    size = image["height"], image["width"]
    mask = _mask(annotation.get("segmentation"), size)
    if "bbox" not in annotation and mask is None:
        raise ValueError("has neither a bbox nor a segmentation")
    box = _box(annotation["bbox"], size) if "bbox" in annotation else _box_of(mask, size)
    area = number(annotation.get("area", box[2] * box[3]), "its area")
    entry = {
        "id": new_id,
        "image_id": image["id"],
        "category_id": category,
        "iscrowd": int(flag(annotation.get("iscrowd", 0), "its iscrowd")),
        "area": max(area, 0.0),
        "bbox": box,
    }
    if mask is not None:
        entry["segmentation"] = mask
    return entry


def _box(values: Any, size: Size) -> list[float]:
    if not isinstance(values, list) or len(values) != 4:
        raise ValueError(f"has the bbox {shown(values)}, and must have x, y, width, height")
    x, y, width, height = (number(value, "a number of its bbox") for value in values)
    if width < 0 or height < 0:
        raise ValueError(f"has a bbox of {width:g}x{height:g} pixels")
    _check_near((x, y, x + width, y + height), size, "its bbox")
    return [x, y, width, height]


def _box_of(mask: Any, size: Size) -> list[float]:
    """Tight box of a mask."""
    from pycocotools import mask as api

    rle = api.merge(api.frPyObjects(mask, *size)) if isinstance(mask, list) else _compressed(mask)
    return [float(side) for side in api.toBbox(rle)]


def _compressed(rle: Mapping[str, Any]) -> Any:
    from pycocotools import mask as api

    return api.frPyObjects(rle, *rle["size"]) if isinstance(rle["counts"], list) else rle


def _mask(mask: Any, size: Size) -> Any:
    """An RLE, or polygons of which each encloses something; None where there is none."""
    if mask is None or mask == []:
        return None
    if isinstance(mask, dict):
        return _rle(mask, size)
    if not isinstance(mask, list):
        raise ValueError(f"has the segmentation {shown(mask)}, which is neither an RLE nor polygons")
    # One polygon that is not wrapped in a list of them is plain enough.
    parts = [mask] if all(type(value) in (int, float) for value in mask) else mask
    polygons = [polygon for part in parts if (polygon := _polygon(part, size))]
    if not polygons:
        raise ValueError(f"has polygons of fewer than {_POINTS} points alone")
    return polygons


def _polygon(part: Any, size: Size) -> list[float] | None:
    if not isinstance(part, list) or len(part) % 2:
        raise ValueError(f"has the polygon {shown(part)}, and must have x and y of each point")
    values = [number(value, "a number of its polygon") for value in part]
    _check_near(values, size, "its polygon")
    return values if len(values) >= 2 * _POINTS else None


def _rle(mask: Mapping[str, Any], size: Size) -> dict[str, Any]:
    sides = mask["size"]
    if not isinstance(sides, list) or tuple(whole(side, "a side of its mask") for side in sides) != size:
        raise ValueError(f"has a mask of {shown(sides)}, and its picture is {list(size)}")
    counts = mask["counts"]
    if isinstance(counts, list):
        counts = [whole(count, "a run of its mask") for count in counts]
    elif not isinstance(counts, str):
        raise ValueError(f"has the counts {shown(counts)} in its mask")
    rle = {"size": list(size), "counts": counts}
    decode_rle(rle)
    return rle


def _check_near(values: Sequence[float], size: Size, what: str) -> None:
    """Refuse points further outside of the picture than it is large: pycocotools takes memory by the distance."""
    for value, side in zip(values, size[::-1] * (len(values) // 2), strict=True):
        if not -side <= value <= 2 * side:
            raise ValueError(f"has {value:g} in {what}, and its picture is {size[1]}x{size[0]}")
