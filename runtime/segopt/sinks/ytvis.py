"""YouTube-VIS results: objects with a mask for each frame of the video.

The form is that of the challenge (https://youtube-vos.org/dataset/vis): a list of ``video_id``, ``category_id``,
``score`` and ``segmentations``, which has an RLE or null for each frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segopt.coco.rle import Rle
from segopt.files.atomic import write_json
from segopt.sinks.base import Finished, Sink

_VIDEO_ID = 1


@dataclass
class _Object:
    category_id: int
    scores: list[float] = field(default_factory=list)
    masks: dict[int, Rle] = field(default_factory=dict)
    """By the frame's place among those that were written."""


class YoutubeVis(Sink):
    """``ytvis.json``, written when the run ends; until then the masks are in memory, about 0.5 KB each."""

    label = "YouTube-VIS"

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self._overwrite = overwrite
        self._objects: dict[int, _Object] = {}
        self._closed = False

    def write(self, item: Finished) -> None:
        """Take the masks of one frame."""
        for entry in item.result.to_coco(_VIDEO_ID):
            one = self._objects.setdefault(entry["track_id"], _Object(entry["category_id"]))
            one.scores.append(entry["score"])
            one.masks[self.count] = entry["segmentation"]
        self.count += 1

    def close(self) -> None:
        """Write the file."""
        if self._closed or not self.count:
            return
        self._closed = True
        document: list[dict[str, Any]] = [
            {
                "video_id": _VIDEO_ID,
                "category_id": one.category_id,
                "score": round(sum(one.scores) / len(one.scores), 5),
                "track_id": track,
                "segmentations": [one.masks.get(i) for i in range(self.count)],
            }
            for track, one in self._objects.items()
        ]
        write_json(self.path, document, overwrite=self._overwrite)
