"""``python -m segopt_bench.bf16``: what bf16 in the place of half costs in accuracy.

No CPU with bf16 is needed: PyTorch computes the network in single precision and rounds what each layer reads and
gives. Where OpenVINO finds bf16 on this CPU, and the file is one of ``--precision fp16``, it runs the file in it,
too. Accuracy is on synthetic scenes, and boxes are compared with those of PyTorch in single precision.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.agreement import HALF, match
from segopt.backends.openvino_compile import has_bf16, import_openvino
from segopt.errors import EngineError, SegoptError
from segopt.letterbox import letterbox_frames
from segopt.model.card import Card
from segopt.model.reading import read_card
from segopt.segmenter import Segmenter, load
from segopt.thresholds import Thresholds
from segopt_bench.bf16.rounding import rounded
from segopt_bench.latency.accuracy import STUFF_AREA, measure_accuracy, write_scenes
from segopt_bench.latency.pictures import scene_pictures
from segopt_bench.pytorch.network import TorchBackend, torch_segmenter
from segopt_bench.reporting.tables import Table, percent
from segopt_bench.reporting.terminal import as_rich
from segopt_bench.requirements import need_evaluation_packages

_FIGURES = ("PQ", "mIoU", "box AP", "mask AP")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m segopt_bench.bf16", description=(__doc__ or "").strip())
    parser.add_argument("--engine", type=Path, required=True, metavar="FILE", help="its card names the network")
    parser.add_argument("--scenes", type=int, default=200, metavar="N", help="to evaluate on (200)")
    options = parser.parse_args(arguments)
    if options.scenes < 1:
        parser.error(f"--scenes {options.scenes}: must be 1 or more")
    try:
        need_evaluation_packages("bf16")
        card = read_card(options.engine)
        plain, reckoned = both(card)
        others = {"bf16, reckoned": reckoned, **in_openvino(options.engine, card)}
        moved = {name: boxes_moved(card, plain, other, min(options.scenes, 50)) for name, other in others.items()}
        with tempfile.TemporaryDirectory() as folder:
            write_scenes(Path(folder), options.scenes, card.canvas, lambda _done: None)
            accuracies = {
                name: measure_accuracy(each, Path(folder), lambda *_: None)[0]
                for name, each in {"single precision": plain, **others}.items()
            }
    except SegoptError as error:
        print(error, file=sys.stderr)
        return 1
    from rich.console import Console

    figures = [name for name in _FIGURES if name in accuracies["single precision"]]
    rows = tuple(
        (name, *(percent(accuracy.get(figure)) for figure in figures)) for name, accuracy in accuracies.items()
    )
    Console().print(as_rich(Table(f"in percent, on {options.scenes} scenes", ("", *figures), rows)))
    for name, pixels in moved.items():
        if len(pixels):
            median, high = np.percentile(pixels, (50, 95))
            print(
                f"{name}: boxes of {len(pixels)} detections above 0.5 move by {median:.3f} px (median), "
                f"{high:.3f} px (95%)"
            )
    return 0


def both(card: Card) -> tuple[Segmenter, Segmenter]:
    """The network of a card in single precision, and with its layers in bf16."""
    thresholds = Thresholds(card.score_threshold, card.overlap_threshold, STUFF_AREA)
    plain = torch_segmenter(card, thresholds, {})
    backend = plain.backend
    assert isinstance(backend, TorchBackend)
    return plain, Segmenter(card, TorchBackend(rounded(backend.graph), card), card.mode, thresholds)


def in_openvino(engine: Path, card: Card) -> dict[str, Segmenter]:
    """The file itself in OpenVINO's bf16, by a name; nothing where the CPU or the file has none of it."""
    if card.precision != "fp16" or not _has_bf16():
        return {}
    segmenter = load(engine, "openvino", stuff_area=STUFF_AREA, inference_precision="bf16")
    return {segmenter.backend.name: segmenter}


def _has_bf16() -> bool:
    try:
        return has_bf16(import_openvino().Core(), "CPU")
    except EngineError:
        return False


def boxes_moved(card: Card, plain: Segmenter, other: Segmenter, scenes: int) -> NDArray[np.float64]:
    """Pixels by which the furthest side of each detection with a score above 0.5 moves: float64 [N].

    What has no counterpart (an IoU of 0.8, a score within 0.1) is not in it.
    """
    if card.mode == "semantic" or card.merge == "queries":
        return np.zeros(0)
    bounds = dataclasses.replace(HALF, box_iou=0.8, score=0.1)
    moved: list[float] = []
    for frame in scene_pictures(scenes, card.canvas).frames:
        image = letterbox_frames([frame] * card.batch, card).image
        ours, theirs = (_strong(each.backend.infer({"image": image})) for each in (plain, other))
        for a, b in match(ours, theirs, bounds):
            moved.append(float(np.abs(ours["boxes"][a] - theirs["boxes"][b]).max()))
    return np.array(moved)


def _strong(outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    kept = outputs["scores"][0] >= 0.5
    return {name: outputs[name][0][kept] for name in ("boxes", "scores", "labels")}


if __name__ == "__main__":
    sys.exit(main())
