"""A short run of a model in ONNX Runtime, which finds a broken file before minutes are spent on building it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segopt.errors import EngineError
from segopt.model.card import Card
from segopt.model.tensors import check_tensors

_SEED = 5


@dataclass(frozen=True)
class Trial:
    """What came of the run."""

    outputs: dict[str, NDArray[np.generic]] | None
    """By name, for :func:`synthetic_image`; None where ONNX Runtime is not installed."""
    notes: list[str]
    """For the user: ONNX Runtime is not installed, suppression did not converge."""


def try_run(model: Path, card: Card) -> Trial:
    """Run a model once on a synthetic image on the CPU.

    Raises:
        EngineError: it does not load, has other tensors than its card promises, or gives numbers that are none.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        note = "not tried out before the build: ONNX Runtime is not installed (pip install 'segopt[cpu]')"
        return Trial(None, [note])
    from segopt.backends.onnxruntime import OnnxRuntimeBackend

    backend = OnnxRuntimeBackend(model, "cpu")
    try:
        check_tensors(card, {**backend.inputs, **backend.outputs}, model)
        outputs = backend.infer({"image": synthetic_image(card)})
    finally:
        backend.close()
    for name, values in outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise EngineError(
                f"{model}: {name} is not finite on a synthetic image (a value is NaN or infinite); "
                "check the weights, export it again, or keep it in FP32 with --precision fp32"
            )
    notes = []
    if not np.asarray(outputs.get("converged", 1)).all():
        notes.append(
            "suppression did not converge on a synthetic image; if it happens on real ones, give more "
            "--suppression-steps"
        )
    return Trial(outputs, notes)


def synthetic_image(card: Card) -> NDArray[np.uint8]:
    """Seeded frames with blobs and edges in them, as the network takes them: uint8 BGR [B, H, W, 3]."""
    height, width = card.canvas
    coarse = np.random.default_rng(_SEED).integers(0, 256, (card.batch, 12, 16, 3), np.uint8)
    return np.stack([cv2.resize(blobs, (width, height), interpolation=cv2.INTER_CUBIC) for blobs in coarse])
