"""Average precision of boxes and masks, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.scores import Figures

_AREAS = {"APs": "small", "APm": "medium", "APl": "large"}


class AveragePrecision:
    """COCO's AP over pictures: 101 recall points, IoU 0.50 to 0.95, at most 100 detections a picture.

    Args:
        kind: ``bbox`` or ``segm``.
        document: COCO instances; every image has ``id``, ``height`` and ``width``.
        classes: of the document.
        image_ids: the pictures that were looked at.
        results: COCO results with ``image_id``, ``category_id`` (of ``classes``), ``bbox``, ``segmentation`` and
            ``score``.
    """

    def __init__(
        self,
        kind: str,
        document: Mapping[str, Any],
        classes: Sequence[TruthClass],
        image_ids: Collection[int],
        results: Sequence[Mapping[str, Any]],
    ) -> None:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        wanted = set(image_ids)
        images = [image for image in document["images"] if image["id"] in wanted]
        # pycocotools writes into the dicts it is given.
        truths = [dict(a) for a in document["annotations"] if a["image_id"] in wanted]
        with contextlib.redirect_stdout(io.StringIO()):
            truth, found = COCO(), COCO()
            truth.dataset = {"images": images, "annotations": truths, "categories": document["categories"]}
            found.dataset = {**truth.dataset, "annotations": _detections(kind, results)}
            truth.createIndex()
            found.createIndex()
            evaluator = COCOeval(truth, found, kind)
            evaluator.params.imgIds = sorted(wanted)
            evaluator.params.catIds = [entry.id for entry in classes]
            evaluator.evaluate()
            evaluator.accumulate()
        self._column = {entry.id: k for k, entry in enumerate(classes)}
        self._ious = [round(float(iou), 2) for iou in evaluator.params.iouThrs]
        self._areas = list(evaluator.params.areaRngLbl)
        self._precision: NDArray[np.float64] = evaluator.eval["precision"][..., -1]
        """float64 [IoU, recall, class, area], -1 where no object is."""

    def of(self, class_ids: Collection[int]) -> Figures:
        """``AP``, ``AP50``, ``AP75``, and ``APs``, ``APm``, ``APl`` by area; None where no object is."""
        columns = [self._column[class_id] for class_id in class_ids]
        every = slice(None)
        return {
            "AP": self._mean(columns, every, "all"),
            "AP50": self._mean(columns, self._ious.index(0.5), "all"),
            "AP75": self._mean(columns, self._ious.index(0.75), "all"),
            **{name: self._mean(columns, every, area) for name, area in _AREAS.items()},
        }

    def _mean(self, columns: list[int], iou: slice | int, area: str) -> float | None:
        values = self._precision[iou][..., columns, self._areas.index(area)]
        values = values[values > -1]
        return float(values.mean()) if values.size else None


def _detections(kind: str, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results as pycocotools holds them, with the area of what is evaluated: of the mask, or of the box."""
    from pycocotools import mask

    detections = []
    for i, result in enumerate(results, start=1):
        entry = {
            "id": i,
            "image_id": result["image_id"],
            "category_id": result["category_id"],
            "score": result["score"],
            "bbox": result["bbox"],
            "iscrowd": 0,
        }
        if kind == "segm":
            entry["segmentation"] = result["segmentation"]
            entry["area"] = int(mask.area(result["segmentation"]))
        else:
            entry["area"] = result["bbox"][2] * result["bbox"][3]
        detections.append(entry)
    return detections
