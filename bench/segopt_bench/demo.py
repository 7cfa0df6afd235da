"""The demo: every step of the way, offline, on a synthetic street video."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import segopt
from segopt.files.atomic import exists_error, write_image
from segopt.interrupts import held
from segopt.pipeline.run import run_pipeline
from segopt.results import PanopticResult
from segopt.sinks.base import Finished, Sink
from segopt.sinks.claim import claimed
from segopt.sinks.making import make_sinks
from segopt.sources import open_source
from segopt_bench.evaluation import evaluate_predictions, open_data
from segopt_bench.evaluation.scores import Figures
from segopt_bench.scenes import Rendered, render_clip, write_clip
from segopt_export.exporter import export
from segopt_export.request import ExportRequest
from segopt_export.weights.loading import WeightsRequest

SEED = 31
"""A scene that the demo networks have not seen, with eight to ten things at any time."""
SIZE = (432, 768)
RATE = 15
SHEET_ROWS = 4
STUFF_AREA = 500
"""In pixels. The usual 4096 is for photographs; it would leave out the far ends of these small streets."""

_MODEL = "panoptic-demo.onnx"
_LASTING = ("VPQ5", "STQ")
_SAVES = ("overlay", "panoptic")
_MADE = ("street", "video-overlay.mp4", "panoptic.json", "panoptic", "contact-sheet.png")

Step = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True)
class DemoDone:
    """What the demo made."""

    frames: int
    size: tuple[int, int]
    fps: float
    quality: Figures
    """PQ, SQ and RQ over all classes, 0 to 1, against the video's ground truth; then VPQ and STQ."""
    files: dict[str, Path]


def run_demo(folder: Path, *, seconds: int, step: Step) -> DemoDone:
    """Export the demo panoptic model, render a video, run the model on it, score it, lay out a contact sheet.

    Args:
        folder: gets the model, the video with its ground truth, and the results.
        seconds: length of the video.
        step: called with a description of each step and entered while it runs.

    An earlier demo in that folder is replaced, and nothing else.

    Raises:
        SegoptError: something cannot be written, or would replace what no demo made.
    """
    if not (folder / _MODEL).exists():
        for name in _MADE:
            if (folder / name).exists():
                raise exists_error(folder / name)
    request = ExportRequest(
        "panoptic",
        weights={"panoptic": WeightsRequest("demo")},
        output=folder / _MODEL,
    )
    model = export(request, step=step).path
    count = seconds * RATE
    with step(f"street video: {count} frames with ground truth"):
        street = write_clip(folder / "street", SEED, SIZE, frames=count)
    keeper = _Keeper({round(i * (count - 1) / (SHEET_ROWS - 1)) for i in range(SHEET_ROWS)})
    with contextlib.ExitStack() as stack:
        stack.enter_context(step("run: decode, infer, merge, track, draw, encode"))
        source = stack.enter_context(open_source(str(street)))
        with held():
            stack.enter_context(claimed(_SAVES, folder, source, overwrite=True))
        segmenter = stack.enter_context(segopt.load(model, stuff_area=STUFF_AREA))
        with held():
            sinks = [*make_sinks(_SAVES, folder, source, "panoptic", overwrite=True), keeper]
            for sink in sinks:
                stack.enter_context(sink)
        stats = run_pipeline(source, segmenter, sinks, tracker=segopt.Tracker())
        if stats.interrupt is not None:
            raise stats.interrupt
    sheet = folder / "contact-sheet.png"
    truth = [r for i, r in enumerate(render_clip(SEED, SIZE, frames=count)) if i in keeper.kept]
    write_image(sheet, contact_sheet(truth, list(keeper.kept.values())))
    files = {
        "model": model,
        "video": street,
        "overlay": folder / "video-overlay.mp4",
        "COCO panoptic": folder / "panoptic.json",
        "contact sheet": sheet,
    }
    with step("score: PQ, VPQ and STQ against the ground truth"):
        pictures, video = evaluate_predictions(folder, open_data(folder / "street")).scores
    lasting = {name: video.totals["all"][name] for name in _LASTING}
    return DemoDone(stats.frames, SIZE, stats.fps, {**pictures.totals["all"], **lasting}, files)


def contact_sheet(truth: Sequence[Rendered], found: Sequence[PanopticResult]) -> NDArray[np.uint8]:
    """Rows of frame, ground truth and result, uint8 BGR."""
    rows = [
        np.hstack([true.frame, true.panoptic().draw(true.frame), result.draw(true.frame)])
        for true, result in zip(truth, found, strict=True)
    ]
    width = truth[0].frame.shape[1]
    header = np.full((36, 3 * width, 3), 255, dtype=np.uint8)
    for i, title in enumerate(("frame", "ground truth", "segopt")):
        origin = (i * width + 12, 25)
        cv2.putText(header, title, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (40, 40, 40), 2, cv2.LINE_AA)
    return np.vstack([header, *rows])


class _Keeper(Sink):
    """Keeps the results of a few frames."""

    def __init__(self, wanted: set[int]) -> None:
        self._wanted = wanted
        self.kept: dict[int, PanopticResult] = {}

    def write(self, item: Finished) -> None:
        if item.index in self._wanted and isinstance(item.result, PanopticResult):
            self.kept[item.index] = item.result
