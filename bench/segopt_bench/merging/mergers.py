"""Who merges: segopt, whole planes in PyTorch, torchvision's paste, and Detectron2 where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segopt.merge import merge_codes, merge_panoptic
from segopt.model.categories import Category
from segopt.results import PanopticResult
from segopt.tracking.tracker import Tracker
from segopt_bench.merging.cases import STUFF, THINGS, Case
from segopt_bench.pytorch.planes import merge_planes, paste_planes

Job = Callable[[], NDArray[np.int32] | None]
"""Does the work once; gives the segment map where it makes one."""

OURS = "segopt"
TRACKED = "segopt, tracked"
WRITE = "writing the map"


def jobs(case: Case) -> dict[str, Job]:
    """Everybody who can merge this case, by name; inputs are ready in the form that each wants."""
    boxes, scores, labels, masks = (
        torch.from_numpy(array) for array in (case.boxes, case.scores, case.labels, case.masks)
    )
    semantic = torch.from_numpy(case.semantic)

    def ours() -> NDArray[np.int32]:
        arrays = (case.boxes, case.scores, case.labels, case.masks)
        return merge_panoptic(*arrays, case.semantic, case.stuff_classes)[0]

    categories = tuple(Category(k, f"class {k}", k <= THINGS, (0, 0, 0)) for k in range(1, THINGS + STUFF + 1))
    tracker = Tracker()

    def tracked() -> None:
        arrays = (case.boxes, case.scores, case.labels, case.masks)
        merged = merge_codes(*arrays, case.semantic, case.stuff_classes)
        found = tracker(PanopticResult.of_merged(merged, categories, True))
        assert isinstance(found, PanopticResult)
        _ = found.segment_map  # made when it is asked for

    def planes() -> NDArray[np.int32]:
        pasted = paste_planes(masks, boxes, case.size)
        return merge_planes(pasted, scores, labels, semantic, case.stuff_classes)[0]

    def paste() -> None:
        paste_masks_in_image(masks[:, None], boxes, case.size)

    def write() -> NDArray[np.int32]:
        return np.full(case.size, 1, dtype=np.int32)

    found: dict[str, Job] = {OURS: ours, TRACKED: tracked, "planes in PyTorch": planes, WRITE: write}
    if len(case.boxes):
        found["torchvision's paste"] = paste
    if importlib.util.find_spec("detectron2") is not None:
        found["Detectron2"] = _detectron2(case)
    return found


def largest_planes(case: Case) -> int:
    """Bytes of the largest thing that any of them makes: torchvision's float planes, and the copy it stacks."""
    height, width = case.size
    return 2 * 4 * len(case.boxes) * height * width


def _detectron2(case: Case) -> Job:
    from detectron2.layers.mask_ops import paste_masks_in_image as paste
    from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
    from detectron2.structures import Boxes, Instances

    masks, boxes = torch.from_numpy(case.masks), Boxes(torch.from_numpy(case.boxes))
    semantic = torch.from_numpy(case.semantic).long()

    def job() -> NDArray[np.int32]:
        found = Instances(case.size)
        found.scores = torch.from_numpy(case.scores)
        found.pred_classes = torch.from_numpy(case.labels)
        found.pred_masks = paste(masks, boxes, case.size)
        segment_map, _ = combine_semantic_and_instance_outputs(found, semantic, 0.5, 4096, 0.5)
        return np.asarray(segment_map.numpy(), dtype=np.int32)

    return job
