"""Results of query networks: the merged map, and its semantic and its instance view."""

from __future__ import annotations

import numpy as np

from segopt.decode import Queries
from segopt.masks.crop import MaskCrop
from segopt.model.card import Card
from segopt.query_merge import merge_query_codes
from segopt.results import InstanceResult, PanopticResult, SemanticResult


def panoptic_result(found: Queries, card: Card) -> PanopticResult:
    """The merge of the kept queries, at the frame's resolution."""
    categories = card.categories["panoptic"]
    merged = merge_query_codes(
        found.segments,
        found.scores,
        found.labels,
        found.mask_areas,
        {category.id for category in categories if not category.is_thing},
        mask_share=card.mask_share,
        size=found.frame,
    )
    return PanopticResult.of_merged(merged, categories, found.converged)


def semantic_result(found: Queries, card: Card) -> SemanticResult:
    """The classes of the merged map; index 0 is where no segment is."""
    merged = panoptic_result(found, card)
    index = {category.id: i for i, category in enumerate(card.categories["panoptic"], start=1)}
    table = np.zeros(len(merged.segments) + 1, dtype=np.uint8)
    for segment in merged.segments:
        table[segment.id] = index.get(segment.category_id, 0)
    return SemanticResult(table[merged.segment_map], card.categories["semantic"])


def instance_result(found: Queries, card: Card) -> InstanceResult:
    """The things of the merged map, which do not overlap."""
    merged = panoptic_result(found, card)
    things = [k for k, segment in enumerate(merged.segments) if segment.is_thing]
    boxes, segments = merged.boxes[things], [merged.segments[k] for k in things]
    return InstanceResult(
        boxes=boxes,
        scores=np.array([segment.score for segment in segments], dtype=np.float32),
        labels=np.array([segment.category_id for segment in segments], dtype=np.int32),
        crops=tuple(
            MaskCrop(x0, y0, merged.segment_map[y0:y1, x0:x1] == segment.id)
            for segment, (x0, y0, x1, y1) in zip(segments, boxes.astype(int).tolist(), strict=True)
        ),
        size=merged.size,
        categories=card.categories["instance"],
        converged=found.converged,
    )
