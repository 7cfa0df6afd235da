"""Plans: each model measured in a process of its own, and what to say of it."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segopt.backends.openvino_compile import InferencePrecision
from segopt.errors import EngineError, UsageError
from segopt.model.reading import read_card
from segopt_bench.footprint.process import run_watched
from segopt_bench.latency.contenders import check_inference_precision, inference_precision_of
from segopt_bench.plan.job import Found, Load, Request
from segopt_bench.reporting.tables import milliseconds

MOST_CAMERAS = 64
_STAGES = {
    "decode": "reading and letterbox",
    "infer": "network",
    "finish": "merge",
    "draw": "draw",
    "encode": "encode",
    "write": "write",
}
_MB = 1e6


@dataclass(frozen=True)
class Plan:
    """What a model costs."""

    engine: Path
    found: Found
    peak_bytes: int
    """Most memory of the process that ran it, with all cameras."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"engine": str(self.engine), **self.found.to_json(), "peak_bytes": self.peak_bytes}


def make_plans(
    engines: Sequence[Path],
    *,
    cameras: int,
    device: str = "auto",
    data: str | None = None,
    pictures: int = 8,
    rounds: int = 30,
    inference_precision: InferencePrecision | None = None,
    watch: Callable[[Path], None] = lambda _engine: None,
) -> list[Plan]:
    """Measure models one after the other.

    Args:
        engines: model files.
        cameras: how many at most; one alone is measured in any case.
        device: where to run, as :func:`segopt.load` takes it.
        data: picture, folder or video to take the frames from; None takes scenes of the canvas's size.
        pictures: how many different frames.
        rounds: how often a frame is timed alone.
        inference_precision: OpenVINO's; bf16 is for the models in FP16 alone.
        watch: is told which model is next.

    Raises:
        CardError: a file is missing, broken, or has no card.
        EngineError: a model does not load or run.
        SegoptError: the pictures cannot be read, or a process cannot be watched.
        UsageError: a number of cameras out of range, or bf16 for models of which none is in FP16.
    """
    if not 1 <= cameras <= MOST_CAMERAS:
        raise UsageError(f"--cameras {cameras}: must be from 1 to {MOST_CAMERAS}")
    cards = [read_card(engine) for engine in engines]
    check_inference_precision(cards, inference_precision)
    plans = []
    for engine, card in zip(engines, cards, strict=True):
        watch(engine)
        precision = inference_precision_of(card, inference_precision)
        counts = (1,) if cameras == 1 else (1, cameras)
        plans.append(_plan(engine, Request(str(engine), device, data, pictures, rounds, counts, precision)))
    return plans


def _plan(engine: Path, request: Request) -> Plan:
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        asked = json.dumps(dataclasses.asdict(request))
        usage = run_watched([sys.executable, "-m", "segopt_bench.plan.job", asked, str(answer)])
        said = json.loads(answer.read_bytes())
    if "error" in said:
        raise EngineError(said["error"])
    return Plan(engine, Found.from_json(said["found"]), usage.peak_bytes)


def lines(plan: Plan) -> list[str]:
    """What to say of a model."""
    found = plan.found
    said = [
        f"{plan.engine}: {found.title}",
        f"  {'one frame alone':<18}{milliseconds(found.latency.median)} ms from frame to result "
        f"({milliseconds(found.latency.p5)} ms to {milliseconds(found.latency.p95)} ms)",
        *(_line(load) for load in found.loads),
    ]
    stages = ", ".join(
        f"{_STAGES[name]} {milliseconds(taken)} ms" for name, taken in found.loads[0].stages.items()
    )
    said.append(f"  {'stages, 1 camera':<18}{stages} a frame")
    said.append(f"  {'memory':<18}{plan.peak_bytes / _MB:.0f} MB at most")
    return said


def _line(load: Load) -> str:
    cameras = "1 camera" if load.cameras == 1 else f"{load.cameras} cameras"
    each = "" if load.cameras == 1 else " each"
    return f"  {cameras:<18}{load.fps:.1f} fps{each}, limited by {_STAGES[load.limit]}, {load.busy:.0%} busy"
