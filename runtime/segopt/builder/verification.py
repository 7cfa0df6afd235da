"""The proof of a plan: on this GPU it answers as its ONNX file does in ONNX Runtime on the CPU.

TensorRT has compiled graphs wrongly without a word: GridSample in FP16 from 10.14 on (NVIDIA/TensorRT #4813,
pytorch/TensorRT #4074), ``linear`` as nearest (NVIDIA/TensorRT #4646). Running the plan finds such a fault, known
or not, before the plan has its name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segopt.agreement import Arrays, Figure, bounds_for, compare
from segopt.builder.trial import Trial, synthetic_image
from segopt.errors import EngineError
from segopt.frame import Frame
from segopt.letterbox import letterbox_frames
from segopt.model.card import Card
from segopt.model.sidecar import Sidecar
from segopt.model.sidecar import write as write_plan

if TYPE_CHECKING:
    from typing_extensions import Buffer

PICTURES = 8
"""So many pictures of a folder are enough: a fault of the compiler is seen on each."""


def verify(model: Path, data: Buffer, made: Sidecar, pictures: Path | None, trial: Trial) -> list[str]:
    """Run a plan on this machine's GPU and its ONNX file on the CPU, and compare every output.

    Args:
        model: the ONNX file.
        data: the plan's bytes.
        made: the sidecar that the plan is to have.
        pictures: what to run on, a picture or a folder of them; None takes the trial's.
        trial: the ONNX file's answer for a synthetic one.

    Returns:
        Notes: the figures of the comparison, or why there are none.

    Raises:
        EngineError: an output differs by more than the precision explains.
    """
    if trial.outputs is None:
        return ["the plan's answer was not compared: ONNX Runtime is not installed (pip install 'segopt[cpu]')"]
    from segopt.backends.tensorrt import TensorRtBackend

    card = made.card
    frames = [] if pictures is None else _frames(pictures)
    if frames:
        images = list(_batches(frames, card))
        expected = _on_the_cpu(model, images)
    else:
        images, expected = [synthetic_image(card)], [trial.outputs]
    with tempfile.TemporaryDirectory(prefix="segopt-") as folder:
        plan = Path(folder) / "built.plan"
        write_plan(plan, data, made)
        on_gpu = TensorRtBackend(plan)
        try:
            found = [on_gpu.infer({"image": image}) for image in images]
        finally:
            on_gpu.close()
    random = any(origin.is_random for origin in card.weights.values())
    bounds = bounds_for(card.precision, random=random)
    figures = compare(_joined(expected), _joined(found), bounds)
    if bad := [figure for figure in figures if not figure.good]:
        raise EngineError(_complaint(model, made, bad))
    several = "s" * (len(frames) != 1)
    on = f"{len(frames)} picture{several} of {pictures}" if frames else "a synthetic picture"
    return [f"the plan answers as ONNX Runtime does on {on}: {_listed(figures)}"]


def _on_the_cpu(model: Path, images: list[NDArray[np.uint8]]) -> list[dict[str, NDArray[np.generic]]]:
    from segopt.backends.onnxruntime import OnnxRuntimeBackend

    backend = OnnxRuntimeBackend(model, "cpu")
    try:
        return [backend.infer({"image": image}) for image in images]
    finally:
        backend.close()


def _complaint(model: Path, made: Sidecar, bad: list[Figure]) -> str:
    record = made.plan
    lower = "" if made.card.precision == "fp32" else ", export it with --precision fp32"
    return (
        f"{model}: the plan that {record.runtime} {record.version} built answers differently from ONNX Runtime: "
        f"{_listed(bad)}; it was not written. Try another version of TensorRT{lower}, or give --verify-on "
        "PICTURES like yours; --no-verify writes it as it is"
    )


def _listed(figures: list[Figure]) -> str:
    return "; ".join(f"{figure.name} {figure.text}" for figure in figures)


def _frames(pictures: Path) -> list[Frame]:
    from segopt.sources.opening import open_source

    with open_source(pictures) as source:
        return [frame.image for frame in islice(source, PICTURES)]


def _batches(frames: list[Frame], card: Card) -> Iterator[NDArray[np.uint8]]:
    """Frames as the network takes them, uint8 BGR [B, H, W, 3]."""
    for start in range(0, len(frames), card.batch):
        yield letterbox_frames(frames[start : start + card.batch], card).image


def _joined(answers: list[dict[str, NDArray[np.generic]]]) -> Arrays:
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
