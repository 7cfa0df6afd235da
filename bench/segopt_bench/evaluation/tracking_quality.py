"""HOTA and IDF1 of objects by their masks, with TrackEval (https://github.com/JonathonLuiten/TrackEval).

Everything is one class to it, and objects of two classes have nothing in common.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt_bench.evaluation.scores import Figures


@dataclass(frozen=True)
class FrameObjects:
    """The objects of one frame."""

    truth: Sequence[Hashable]
    """T identities."""
    found: Sequence[Hashable]
    """F identities."""
    similarity: NDArray[np.float64]
    """float64 [T, F]: IoU."""


def tracking_notes() -> list[str]:
    """What to install where TrackEval is missing."""
    if importlib.util.find_spec("trackeval") is not None:
        return []
    # It asks for opencv-python, which would overwrite opencv-python-headless.
    return ["HOTA and IDF1 need TrackEval: pip install --no-deps trackeval scipy"]


class TrackingQuality:
    """Sums up over videos."""

    def __init__(self) -> None:
        self._videos: list[list[FrameObjects]] = []

    def begin(self) -> None:
        """The frames that follow are of another video."""
        self._videos.append([])

    def add(self, objects: FrameObjects) -> None:
        """Take the next frame."""
        self._videos[-1].append(objects)

    def figures(self) -> Figures:
        """``HOTA`` and ``IDF1``, 0 to 1; None of nothing, and where TrackEval is not installed."""
        try:
            # It says on stdout which data sets it cannot read.
            with contextlib.redirect_stdout(io.StringIO()):
                from trackeval.metrics import HOTA, Identity
        except ImportError:
            return {"HOTA": None, "IDF1": None}
        videos = {str(i): _plain(video) for i, video in enumerate(self._videos) if video}
        if not any(data["num_gt_dets"] + data["num_tracker_dets"] for data in videos.values()):
            return {"HOTA": None, "IDF1": None}
        with contextlib.redirect_stdout(io.StringIO()):
            hota, identity = HOTA(), Identity({"PRINT_CONFIG": False})
        together = hota.combine_sequences({name: hota.eval_sequence(data) for name, data in videos.items()})
        ids = identity.combine_sequences({name: identity.eval_sequence(data) for name, data in videos.items()})
        return {"HOTA": float(np.mean(together["HOTA"])), "IDF1": float(ids["IDF1"])}


def _plain(frames: Sequence[FrameObjects]) -> dict[str, Any]:
    """A video as TrackEval's metrics take it: identities are numbers from 0 on."""
    numbers: tuple[dict[Hashable, int], dict[Hashable, int]] = {}, {}
    ids: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = [], []
    for frame in frames:
        for known, listed, objects in zip(numbers, ids, (frame.truth, frame.found), strict=True):
            listed.append(np.array([known.setdefault(one, len(known)) for one in objects], dtype=np.int64))
    return {
        "num_timesteps": len(frames),
        "num_gt_ids": len(numbers[0]),
        "num_tracker_ids": len(numbers[1]),
        "num_gt_dets": sum(map(len, ids[0])),
        "num_tracker_dets": sum(map(len, ids[1])),
        "gt_ids": ids[0],
        "tracker_ids": ids[1],
        "similarity_scores": [frame.similarity for frame in frames],
    }
