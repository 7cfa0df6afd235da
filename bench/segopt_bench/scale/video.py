"""Memory over a long video."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from segopt.sinks.mp4 import VideoWriter
from segopt_bench.footprint.process import Usage, run_watched
from segopt_bench.scenes import render_clip

_SCENE = 14
_DIFFERENT_FRAMES = 60


def write_long_video(path: Path, size: tuple[int, int], frames: int) -> None:
    """A scene over time, again and again.

    Raises:
        SinkError: it cannot be written.
    """
    clip = [rendered.frame for rendered in render_clip(_SCENE, size, frames=min(_DIFFERENT_FRAMES, frames))]
    with VideoWriter(path, rate=Fraction(15)) as video:
        for frame in islice(cycle(clip), frames):
            video.write(frame)


def run_long_video(engine: Path, size: tuple[int, int], frames: int) -> Usage:
    """``segopt run`` over so many frames of a size (height, width), in a process that is watched.

    Raises:
        SegoptError: it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        write_long_video(video, size, frames)
        command = [sys.executable, "-m", "segopt", "run", "--engine", str(engine), "--device", "cpu"]
        return run_watched([*command, "--save", "overlay,panoptic,coco", "--output", folder, str(video)])


def growth(samples: Sequence[tuple[float, int]]) -> float:
    """Bytes a second that memory grew by over the last half of a run, by least squares."""
    seconds, held = np.array(samples[len(samples) // 2 :], dtype=float).T
    return float(np.polyfit(seconds, held, 1)[0]) if len(seconds) > 1 else 0.0
