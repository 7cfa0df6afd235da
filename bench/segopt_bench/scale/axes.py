"""What is varied, one thing at a time, around the demo's panoptic network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import segopt
from segopt.segmenter import Segmenter
from segopt_bench.latency.pictures import scene_pictures
from segopt_bench.reporting.spread import Spread
from segopt_bench.reporting.stages import STAGES, Timing, time_call
from segopt_export.exporter import export
from segopt_export.request import ExportRequest
from segopt_export.static.limits import DetectionLimits
from segopt_export.weights.loading import WeightsRequest

CANVASES = ((128, 224), (256, 448), (384, 672), (512, 896))
BATCHES = (1, 2, 4, 8)
DETECTIONS = (10, 25, 50, 100)
_REST_SECONDS = 0.02
_PICTURES = 4


@dataclass(frozen=True)
class Variant:
    """One export."""

    axis: str
    label: str
    amount: float
    """Place on the axis."""
    canvas: tuple[int, int] = (256, 448)
    batch: int = 1
    detections: int = 100


@dataclass(frozen=True)
class Cost:
    """Milliseconds a frame of one variant."""

    variant: Variant
    total: Spread
    stages: dict[str, Spread]


def variants(canvases: Sequence[tuple[int, int]] = CANVASES) -> list[Variant]:
    """All of them, axis by axis."""
    return [
        *(Variant("canvas, by its pixels", f"{h}x{w}", h * w / 1e6, canvas=(h, w)) for h, w in canvases),
        *(Variant("batch", str(n), n, batch=n) for n in BATCHES),
        *(Variant("detections at most", str(n), n, detections=n) for n in DETECTIONS),
    ]


def measure(chosen: Sequence[Variant], folder: Path, rounds: int, progress: Callable[[str], None]) -> list[Cost]:
    """Export every variant with demo weights and time the variants of an axis in turn, on scenes.

    Raises:
        SegoptError: an export or a run fails.
    """
    costs = []
    for axis in dict.fromkeys(variant.axis for variant in chosen):
        with ExitStack() as stack:
            segmenters = {}
            for variant in (each for each in chosen if each.axis == axis):
                progress(f"{axis}: {variant.label}")
                segmenters[variant] = stack.enter_context(
                    segopt.load(export_variant(variant, folder), device="cpu")
                )
            timings = _rounds(segmenters, rounds)
        costs += [_cost(variant, rounds_) for variant, rounds_ in timings.items()]
    return costs


def export_variant(variant: Variant, folder: Path) -> Path:
    """Export a variant; the path of its file, which the next export replaces.

    Raises:
        SegoptError: the export fails.
    """
    request = ExportRequest(
        "panoptic",
        weights={"panoptic": WeightsRequest("demo")},
        canvas=variant.canvas,
        batch=variant.batch,
        limits=DetectionLimits(max_detections=variant.detections),
        output=folder / "variant.onnx",
    )
    return export(request).path


def _rounds(segmenters: dict[Variant, Segmenter], rounds: int) -> dict[Variant, list[Timing]]:
    batches = {variant: scene_pictures(_PICTURES, variant.canvas).batches(variant.batch) for variant in segmenters}
    timings: dict[Variant, list[Timing]] = {variant: [] for variant in segmenters}
    for i in range(-1, rounds):
        for variant, segmenter in segmenters.items():
            time.sleep(_REST_SECONDS)
            timing, _ = time_call(segmenter, batches[variant][i % _PICTURES])
            if i >= 0:
                timings[variant].append(timing)
    return timings


def _cost(variant: Variant, timings: Sequence[Timing]) -> Cost:
    return Cost(
        variant,
        Spread.of([timing.total for timing in timings]),
        {name: Spread.of([timing.stages[name] for timing in timings]) for name in STAGES},
    )
