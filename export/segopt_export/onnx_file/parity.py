"""Parity: does the ONNX file, in ONNX Runtime, say what the PyTorch module says?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segopt.agreement import EIGHT_BIT, HALF, SINGLE, Bounds, Figure, compare, not_finite
from segopt.backends.onnxruntime import OnnxRuntimeBackend
from segopt.errors import ExportError
from segopt_export.onnx_file.logits import LogitsOfFile, kept_logits
from segopt_export.static.graph import SegmentationGraph

_FIXES = {
    SINGLE: "update onnxruntime and torch, or report this with the output of `segopt doctor`",
    HALF: "half precision costs this network too much: export it with --precision fp32, or let "
    "--calibration FOLDER look at pictures like yours",
    EIGHT_BIT: "INT8 costs this network too much on these pictures: give --calibration pictures more like the "
    "later ones, or export with --precision fp16",
}
"""What to do where the answers differ by more."""


def check_parity(graph: SegmentationGraph, file: Path, image: Tensor, bounds: Bounds = SINGLE) -> list[Figure]:
    """Run a module and its ONNX file on the same image.

    Args:
        graph: the module in single precision, whatever the file is in.
        file: the ONNX file.
        image: uint8 [N, H, W, 3], N a multiple of the graph's batch.
        bounds: of the differences.

    Returns:
        The figures, all of them good.

    Raises:
        ExportError: a figure is not good.
        EngineError: ONNX Runtime cannot load or run the file.
    """
    backend = OnnxRuntimeBackend(file, "cpu")
    parts = torch.split(image, backend.inputs["image"].shape[0])
    with torch.no_grad(), kept_logits(graph) as logits:
        tensors = [graph(part) for part in parts]
    expected = {
        name: torch.cat(t).numpy() for name, t in zip(graph.output_names, zip(*tensors, strict=True), strict=True)
    }
    answers = [backend.infer({"image": part.numpy()}) for part in parts]
    backend.close()
    found = {name: np.concatenate([answer[name] for answer in answers]) for name in expected}
    if sick := not_finite(expected, logits):
        raise ExportError(
            f"PyTorch's own answer has numbers that are not finite ({', '.join(sick)}): the weights are damaged "
            "or their training diverged; take an earlier checkpoint"
        )
    if logits:
        of_file = LogitsOfFile(file, (*logits[0].shape[:2], *image.shape[1:3]))
        expected["logits"] = np.concatenate(logits)
        found["logits"] = np.concatenate([of_file(part.numpy()) for part in parts])
    figures = compare(expected, found, bounds)
    bad = [figure for figure in figures if not figure.good]
    if bad:
        raise ExportError(
            "ONNX Runtime and PyTorch disagree on the exported graph: "
            + "; ".join(f"{figure.name} {figure.text}" for figure in bad)
            + f"; {_FIXES.get(bounds, _FIXES[SINGLE])}"
        )
    return figures
