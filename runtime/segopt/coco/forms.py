"""COCO's forms of a result: results lists with RLE masks, and panoptic PNG with its annotation.

The formats are described at https://cocodataset.org/#format-results and ``#format-data`` (panoptic).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.coco.rle import encode_rle, rle_of
from segopt.frame import Frame
from segopt.masks.crop import MaskCrop
from segopt.masks.label_runs import LabelRuns
from segopt.model.categories import Category, category_by_id
from segopt.segment import Segment
from segopt.version import __version__

_MAX_ID = 1 << 24


def instance_results(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    crops: Iterable[MaskCrop],
    size: tuple[int, int],
    image_id: int,
) -> list[dict[str, Any]]:
    """COCO results of detected objects, one entry for each, in the order given.

    Args:
        boxes: float32 [N, 4], x0, y0, x1, y1 in frame pixels.
        scores: float32 [N].
        labels: int32 [N], category ids.
        crops: N masks inside the frame.
        size: height and width of the frame.
        image_id: of the picture.

    Returns:
        Dicts with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels, 0.01 px), ``score``
        (1e-5) and ``segmentation`` (compressed RLE of the frame's size).
    """
    height, width = size
    entries = []
    for box, score, label, crop in zip(boxes, scores, labels, crops, strict=True):
        x0, y0, x1, y1 = (float(side) for side in box)
        entries.append(
            {
                "image_id": image_id,
                "category_id": int(label),
                "bbox": [round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2)],
                "score": round(float(score), 5),
                "segmentation": encode_rle(crop, height, width),
            }
        )
    return entries


def thing_results(runs: LabelRuns, segments: Iterable[Segment], image_id: int) -> list[dict[str, Any]]:
    """COCO results of a panoptic map's things, in their order; ``bbox`` is the tight box of the mask.

    A segment that owns no pixel of the map gives no entry.

    Args:
        runs: of the segment map.
        segments: what its ids mean.
        image_id: of the picture.
    """
    position = {int(label): k for k, label in enumerate(runs.labels)}
    return [
        {
            "image_id": image_id,
            "category_id": segment.category_id,
            "bbox": list(runs.box(position[segment.id])),
            "score": round(segment.score, 5),
            "segmentation": rle_of(runs, position[segment.id]),
            **({} if segment.track is None else {"track_id": segment.track}),
        }
        for segment in segments
        if segment.is_thing and segment.id in position
    ]


def semantic_results(runs: LabelRuns, categories: Iterable[Category], image_id: int) -> list[dict[str, Any]]:
    """COCO results (stuff task): ``image_id``, ``category_id``, ``segmentation`` of each class that is present.

    Background is a class like any other. An index that is not in ``categories`` gives no entry.

    Args:
        runs: of the label map.
        categories: of the model.
        image_id: of the picture.
    """
    known = category_by_id(categories)
    return [
        {"image_id": image_id, "category_id": int(label), "segmentation": rle_of(runs, k)}
        for k, label in enumerate(runs.labels)
        if int(label) in known
    ]


def panoptic_annotation(
    segment_map: NDArray[np.int32], runs: LabelRuns, segments: Sequence[Segment], image_id: int, file_name: str
) -> tuple[Frame, dict[str, Any]]:
    """COCO panoptic form of one frame.

    Pixels and ``segments_info`` always agree, as panopticapi's evaluation demands: a segment that owns no pixel is
    left out, and pixels of an id that no segment has become void (0).

    Args:
        segment_map: int32 [H, W], whose ids become the PNG's.
        runs: of the same map.
        segments: what its ids mean; of two with the same id the first stands.
        image_id: of the picture.
        file_name: of the PNG, as the JSON names it.

    Returns:
        The PNG, uint8 BGR [H, W, 3] with id = R + 256 G + 65536 B, and the annotation: ``image_id``,
        ``file_name``, ``segments_info`` with ``id``, ``category_id``, ``iscrowd``, ``bbox`` (x, y, width, height)
        and ``area``.

    Raises:
        ValueError: a segment's id does not fit the PNG (1 to 2^24 - 1).
    """
    known = {segment.id: segment for segment in reversed(segments)}
    for segment_id in known:
        if not 0 < segment_id < _MAX_ID:
            raise ValueError(f"segment id {segment_id} does not fit a panoptic PNG (1 to {_MAX_ID - 1})")
    position = {int(label): k for k, label in enumerate(runs.labels) if int(label) in known}
    ids = segment_map
    if unknown := [int(label) for label in runs.labels if label != 0 and int(label) not in known]:
        ids = np.where(np.isin(ids, unknown), 0, ids)
    info = [
        {
            "id": segment_id,
            "category_id": known[segment_id].category_id,
            "iscrowd": 0,
            "bbox": list(runs.box(k)),
            "area": runs.area(k),
        }
        for segment_id, k in position.items()
    ]
    return _png_of(ids), {"image_id": image_id, "file_name": file_name, "segments_info": info}


def panoptic_document(
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    categories: Iterable[Category],
) -> dict[str, Any]:
    """The JSON file that goes with a folder of panoptic PNGs.

    Args:
        images: ``id``, ``file_name``, ``height``, ``width`` of each picture.
        annotations: second part of :func:`panoptic_annotation`, for each picture.
        categories: the model's classes; of two with the same id the first stands.
    """
    unique = {category.id: category for category in reversed(tuple(categories))}
    return {
        "info": {"description": f"Panoptic segmentation by segopt {__version__}", "version": "1.0"},
        "licenses": [],
        "images": [dict(image) for image in images],
        "annotations": [dict(annotation) for annotation in annotations],
        "categories": [
            {
                "id": category.id,
                "name": category.name,
                "supercategory": "thing" if category.is_thing else "stuff",
                "isthing": int(category.is_thing),
                "color": list(category.color),
            }
            for category in sorted(unique.values(), key=lambda category: category.id)
        ],
    }


def read_panoptic_png(array: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Segment ids of a panoptic PNG: int32 [H, W] from uint8 BGR [H, W, 3] (as ``cv2.imread`` gives it)."""
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f"a panoptic PNG is uint8 [H, W, 3], not {array.dtype} {list(array.shape)}")
    blue, green, red = (array[..., channel].astype(np.int32) for channel in range(3))
    return red | green << 8 | blue << 16


def _png_of(ids: NDArray[np.int32]) -> Frame:
    if ids.size == 0:
        return np.zeros((*ids.shape, 3), dtype=np.uint8)
    bytes_of_ids = np.ascontiguousarray(ids, dtype="<i4").view(np.uint8).reshape(*ids.shape, 4)
    return np.asarray(cv2.cvtColor(bytes_of_ids, cv2.COLOR_RGBA2BGR), dtype=np.uint8)
