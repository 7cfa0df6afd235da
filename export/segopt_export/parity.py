"""Parity: does the ONNX file, in ONNX Runtime, say what the PyTorch module says?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segopt.backends.onnxruntime import OnnxRuntimeBackend
from segopt.errors import ExportError
from segopt_export.graph import SegmentationGraph

MIN_PIXELS = 0.999
"""Share of pixels with equal class, and of detections with a twin. Sums in another order move numbers by a few
millionths, which flips a pixel or swaps two detections where two classes or scores are as close as that."""
MIN_TWINS = 0.97
SAME_BOX = 0.98
SAME_SCORE = 1e-2

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Figure:
    """One figure of the comparison."""

    name: str
    text: str
    good: bool


def check_parity(graph: SegmentationGraph, file: Path, image: Tensor) -> list[Figure]:
    """Run a module and its ONNX file on the same picture.

    Args:
        graph: the exported module.
        file: the ONNX file.
        image: uint8 [B, H, W, 3].

    Returns:
        The figures, all of them good.

    Raises:
        ExportError: a figure is not good.
        EngineError: ONNX Runtime cannot load or run the file.
    """
    with torch.no_grad():
        tensors = graph(image)
    expected = {name: t.numpy() for name, t in zip(graph.output_names, tensors, strict=True)}
    backend = OnnxRuntimeBackend(file, "cpu")
    found = backend.infer({"image": image.numpy()})
    backend.close()
    figures = compare(expected, found)
    bad = [figure for figure in figures if not figure.good]
    if bad:
        raise ExportError(
            "ONNX Runtime and PyTorch disagree on the exported graph: "
            + "; ".join(f"{figure.name} {figure.text}" for figure in bad)
            + "; update onnxruntime and torch, or report this with the output of `segopt doctor`"
        )
    return figures


def compare(expected: Arrays, found: Arrays) -> list[Figure]:
    """Figures for two sets of outputs of the contract, whichever of them there are."""
    figures = []
    if "semantic" in expected:
        figures.append(_semantic(expected["semantic"], found["semantic"]))
    if "boxes" in expected:
        figures += _instances(expected, found)
    return figures


def _semantic(expected: NDArray[np.generic], found: NDArray[np.generic]) -> Figure:
    share = float((expected == found).mean())
    return Figure("label map", f"{100 * share:.3f}% of pixels equal", share >= MIN_PIXELS)


def _instances(expected: Arrays, found: Arrays) -> list[Figure]:
    total, twins, box_error, score_error, mask_error = 0, 0, 0.0, 0.0, 0.0
    for i in range(len(expected["scores"])):
        ours, theirs = _used(expected, i), _used(found, i)
        total += max(len(ours["scores"]), len(theirs["scores"]))
        for a, b in match(ours, theirs):
            twins += 1
            box_error = max(box_error, float(np.abs(ours["boxes"][a] - theirs["boxes"][b]).max()))
            score_error = max(score_error, float(np.abs(ours["scores"][a] - theirs["scores"][b])))
            mask_error = max(mask_error, float(np.abs(ours["masks"][a] - theirs["masks"][b]).max()))
    share = twins / total if total else 1.0
    same = bool((expected["converged"] == found["converged"]).all())
    figures = [Figure("detections", f"{twins} of {total} the same", share >= MIN_TWINS)]
    if twins:
        text = f"boxes within {box_error:.2g} px, scores within {score_error:.1g}, masks within {mask_error:.1g}"
        figures.append(Figure("differences", text, True))
    figures.append(Figure("suppression", "agrees" if same else "settles in one of the two alone", same))
    return figures


def match(ours: Arrays, theirs: Arrays) -> list[tuple[int, int]]:
    """Pairs of detections of the same label, score and box; each is taken once, the best score first."""
    free = np.ones(len(theirs["scores"]), dtype=bool)
    pairs = []
    for a, (box, score, label) in enumerate(zip(ours["boxes"], ours["scores"], ours["labels"], strict=True)):
        alike = (
            free
            & (theirs["labels"] == label)
            & (np.abs(theirs["scores"].astype(np.float64) - score) <= SAME_SCORE)
            & (_iou(box, theirs["boxes"]) >= SAME_BOX)
        )
        if alike.any():
            b = int(alike.argmax())
            free[b] = False
            pairs.append((a, b))
    return pairs


def _used(outputs: Arrays, i: int) -> dict[str, NDArray[np.generic]]:
    used = outputs["scores"][i].astype(np.float64) >= 0
    return {name: outputs[name][i][used] for name in ("boxes", "scores", "labels", "masks")}


def _iou(box: NDArray[np.generic], boxes: NDArray[np.generic]) -> NDArray[np.float64]:
    a, b = box.astype(np.float64), boxes.astype(np.float64)
    size = np.clip(np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2]), 0, None)
    shared = size.prod(axis=1)
    union = (a[2:] - a[:2]).prod() + (b[:, 2:] - b[:, :2]).prod(axis=1) - shared
    return np.asarray(shared / np.maximum(union, 1e-12))
