"""What a session runs, in order: commands of segopt, each with the time that it may take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SEGOPT = (sys.executable, "-m", "segopt")
TESTS = Path(__file__).parents[3] / "tests" / "gpu"
"""Of a checkout; an installed package has none."""

_NETWORKS: dict[str, tuple[str, ...]] = {
    "demo": ("--mode", "panoptic", "--weights", "demo"),
    "maskrcnn": (
        *("--mode", "instance", "--network", "maskrcnn_resnet50_fpn", "--weights", "random"),
        *("--size", "800x1344"),
    ),
    "panoptic-fpn": (
        *("--mode", "panoptic", "--network", "panoptic_fpn_resnet50", "--weights", "random"),
        *("--size", "800x1344"),
    ),
    "deeplab": (
        *("--mode", "semantic", "--network", "deeplabv3_resnet50", "--weights", "random"),
        *("--size", "512x1024"),
    ),
}
PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class Step:
    """One command."""

    name: str
    """Of its log, ``NAME.txt``."""
    command: tuple[str, ...]
    minutes: float
    """After these it is stopped, and the session goes on."""
    watched: bool = False
    """Clocks and power are recorded while it runs."""


def session_steps(folder: Path, networks: Sequence[str] = tuple(_NETWORKS), *, tests: Path = TESTS) -> list[Step]:
    """The steps of a session.

    Args:
        folder: for all files.
        networks: those to build and time, of ``demo``, ``maskrcnn``, ``panoptic-fpn`` and ``deeplab``.
        tests: folder of the tests for a GPU; they are left out where there is none.
    """
    steps = [Step("doctor", (*SEGOPT, "doctor"), 2)]
    if tests.is_dir():
        steps.append(Step("tests", (sys.executable, "-m", "pytest", str(tests), "-q", "-rs"), 60))
    for name in networks:
        files: list[str] = []
        for precision in PRECISIONS:
            model = folder / f"{name}-{precision}.onnx"
            export = (*SEGOPT, "export", *_NETWORKS[name], "--precision", precision, "--target", "tensorrt")
            steps.append(Step(f"{model.stem}-export", (*export, "--no-build", "--output", str(model)), 10))
            build = (*SEGOPT, "build", str(model), "--overwrite")
            # A build runs the plan against ONNX Runtime on the CPU, and fails where they differ.
            steps.append(Step(f"{model.stem}-build", build, 30))
            files += [str(model), str(model.with_suffix(".plan"))]
        figures = ("--json", str(folder / f"{name}.json"), "--overwrite")
        bench = (*SEGOPT, "bench", "--device", "cuda", "--compile", *figures, "--engine")
        steps.append(Step(f"{name}-bench", (*bench, *files), 30, watched=True))
    return steps


def network_names() -> tuple[str, ...]:
    """Those that a session knows."""
    return tuple(_NETWORKS)
