"""KITTI-STEP's panoptic PNGs (Weber et al., 2021): R is the class, 256 G + B the object, 255 in R is void."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segopt.errors import SinkError
from segopt.files.atomic import make_folder, write_image
from segopt.frame import Frame
from segopt.results import PanopticResult
from segopt.sinks.base import Finished, Sink
from segopt.sinks.coco import check_ids
from segopt.sources.base import Source
from segopt.sources.pictures import PictureSource

LARGEST_ID = (1 << 16) - 1
_VOID = 255


class StepPictures(Sink):
    """``step/000000.png`` for each frame; of pictures by their own names."""

    label = "KITTI-STEP"

    def __init__(self, path: Path, source: Source, *, overwrite: bool = False) -> None:
        self.path = path
        self._named = isinstance(source, PictureSource)
        self._overwrite = overwrite
        make_folder(path)

    def write(self, item: Finished) -> None:
        """Write one PNG."""
        assert isinstance(item.result, PanopticResult)
        check_ids(item.result, LARGEST_ID, f"{self.path}: a KITTI-STEP PNG")
        name = item.name if self._named else f"{item.index:06d}"
        write_image(self.path / f"{name}.png", step_picture(item.result), overwrite=self._overwrite)
        self.count += 1


def step_picture(result: PanopticResult) -> Frame:
    """Class and object of each pixel, uint8 BGR [H, W, 3]; the object of stuff is 0.

    Raises:
        SinkError: a category whose id does not fit (0 to 254).
    """
    ids = np.array([0, *(segment.id for segment in result.segments)], dtype=np.int64)
    rows = np.zeros((len(ids), 3), dtype=np.int64)
    rows[0, 2] = _VOID
    for row, segment in zip(rows[1:], result.segments, strict=True):
        if not 0 <= segment.category_id < _VOID:
            raise SinkError(
                f"--save step: category {segment.category_id} does not fit (0 to {_VOID - 1}); leave step out"
            )
        own = segment.id if segment.is_thing else 0
        row[:] = own & 255, own >> 8, segment.category_id
    order = np.argsort(ids, kind="stable")
    place: NDArray[np.intp] = np.searchsorted(ids[order], result.segment_map)
    return np.ascontiguousarray(rows[order].astype(np.uint8)[place])
