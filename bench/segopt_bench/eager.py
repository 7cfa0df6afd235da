"""How much faster is an exported detector in ONNX Runtime than torchvision's eager one?

    python -m segopt_bench.eager --network maskrcnn_resnet50_fpn --size 480x640

Both answer the same picture on the same cores with the same lively random weights, 1000 proposals and 100
detections, from a frame's bytes to 100 masks at the frame's resolution, in turn, in one process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import segopt
from segopt_export.exporter import ExportRequest, example_image, export
from segopt_export.networks import find_network
from segopt_export.weights import WeightsRequest, load_weights


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="maskrcnn_resnet50_fpn")
    parser.add_argument("--size", default="480x640", metavar="HxW")
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))

    network = find_network(options.network, "instance")
    model: Any = load_weights(network, WeightsRequest("random")).model
    model.transform.min_size, model.transform.max_size = (min(height, width),), max(height, width)
    frame = example_image(1, (height, width))[0]
    with tempfile.TemporaryDirectory() as folder:
        request = ExportRequest(
            "instance",
            networks={"instance": network.name},
            weights={"instance": WeightsRequest("random")},
            canvas=(height, width),
            output=Path(folder) / "model.onnx",
        )
        segmenter = segopt.load(export(request).path, device="cpu", score_threshold=0.05)

    def eager() -> int:
        with torch.no_grad():
            (answer,) = model([frame.flip(-1).permute(2, 0, 1) / 255])
        return len(answer["scores"])

    def exported() -> int:
        result = segmenter(frame.numpy())
        assert isinstance(result, segopt.InstanceResult)
        return len(result)

    proposals: list[int] = []
    hook = model.rpn.register_forward_hook(lambda *call: proposals.append(len(call[2][0][0])))
    found = eager(), exported()
    hook.remove()
    print(f"{os.cpu_count()} cores, {options.size}, {proposals[0]} proposals, {found} detections")
    _compare(eager, exported, options.runs)


def _compare(eager: Callable[[], int], exported: Callable[[], int], runs: int) -> None:
    for _ in range(3):
        eager(), exported()
    times: list[tuple[float, float]] = [(_seconds(eager), _seconds(exported)) for _ in range(runs)]
    a, b = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(x / y for x, y in times)
    print(f"torchvision eager {1000 * a:.0f} ms, segopt {1000 * b:.0f} ms: {ratio:.2f} times as fast")
    print(f"(medians of {runs} runs in turn; the ratio is the median of the pairs')")


def _seconds(call: Callable[[], int]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
