"""How right an engine is on synthetic scenes, to stand beside how fast it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from segopt.segmenter import Segmenter
from segopt_bench.latency.pictures import FIRST_SCENE
from segopt_bench.scenes import write_dataset

STUFF_AREA = 500
"""Smallest stuff segment, in pixels. The usual 4096 is for photographs, and too much for these small scenes."""
HEADLINES = {
    "panoptic": ("PQ", "PQ"),
    "semantic": ("mIoU", "mIoU"),
    "boxes": ("AP", "box AP"),
    "masks": ("AP", "mask AP"),
}
"""Measure to the figure that stands for it, and what that is called."""

Accuracy = Mapping[str, float | None]
"""Name of a figure to its value, 0 to 1."""


def write_scenes(folder: Path, count: int, size: tuple[int, int], progress: Callable[[int], None]) -> None:
    """Scenes with their ground truth, of a size (height, width)."""
    write_dataset(folder, range(FIRST_SCENE, FIRST_SCENE + count), size, progress=progress)


def measure_accuracy(
    segmenter: Segmenter, scenes: Path, progress: Callable[[int, int], None]
) -> tuple[Accuracy, list[str]]:
    """The headline figures of a model's views, and remarks.

    Raises:
        EvaluationError: its classes have nothing in common with those of the scenes.
    """
    from segopt_bench.evaluation import evaluate_engine, open_data

    limits = dataclasses.replace(segmenter.thresholds, score=segmenter.card.score_threshold, stuff_area=STUFF_AREA)
    evaluated = Segmenter(segmenter.card, segmenter.backend, segmenter.mode, limits)
    evaluation = evaluate_engine(evaluated, open_data(scenes), progress=progress)
    figures = {
        title: scores.totals["all"].get(figure)
        for scores in evaluation.scores
        for figure, title in [HEADLINES[scores.measure]]
    }
    return figures, evaluation.remarks
