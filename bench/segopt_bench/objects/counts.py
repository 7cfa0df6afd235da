"""One network's files, timed with so many objects asked for."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segopt.backends import open_backend
from segopt.backends.base import Backend, Tensors
from segopt.errors import EngineError, UsageError
from segopt.letterbox import letterbox_frames
from segopt.model.reading import read_card
from segopt.model.tensors import MASK_SCORE
from segopt.sources.pictures import read_picture
from segopt_bench.latency.pictures import scene_pictures
from segopt_bench.reporting.spread import Spread, paired_ratio
from segopt_bench.reporting.turns import in_turn


@dataclass(frozen=True)
class Counted:
    """What a file took with so many objects, milliseconds."""

    engine: str
    objects: int
    network: Spread
    times_as_fast: Spread
    """Beside the file that computes all masks, round by round."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)


def measure(
    engine: Path, whole: Path, counts: Sequence[int], rounds: int, picture: Path | None, device: str = "cpu"
) -> list[Counted]:
    """Time a file that computes masks in a loop beside one of the same network that computes all.

    Args:
        engine: the first one.
        whole: the second one, of ``--all-masks``.
        counts: objects whose masks are asked for; those of the highest scores.
        rounds: that count.
        picture: what both see; None is a synthetic scene.
        device: where both run, as :func:`segopt.load` takes it: ``cpu`` is ONNX Runtime, ``openvino`` OpenVINO.

    Returns:
        ``whole`` with all its slots, then ``engine`` with each count.

    Raises:
        CardError: a file is missing, broken, or has no card.
        EngineError: the device does not run one, or the two give different answers.
        SourceError: the picture cannot be read.
        UsageError: a file is not what it is to be, or the picture has fewer objects.
    """
    card = read_card(engine)
    frame = scene_pictures(1, card.canvas).frames[0] if picture is None else read_picture(picture)
    image: dict[str, NDArray[np.generic]] = {"image": letterbox_frames([frame], card).image}
    with (
        contextlib.closing(open_backend(engine, device)) as loop,
        contextlib.closing(open_backend(whole, device)) as all_masks,
    ):
        if MASK_SCORE not in loop.optional:
            raise UsageError(f"{engine}: computes all masks; export it with --target cpu, and without --all-masks")
        if MASK_SCORE in all_masks.optional:
            raise UsageError(f"{whole}: computes masks in a loop; export it with --all-masks")
        expected = all_masks.infer(image)
        runs: list[Callable[[int], object]] = [partial(_infer, all_masks, image)]
        for count in counts:
            given = {**image, MASK_SCORE: _score(expected["scores"][0], count)}
            found = loop.infer(given)
            if not all(_alike(expected[name][0, :count], found[name][0, :count]) for name in ("scores", "masks")):
                raise EngineError(f"{engine}: its answer is not that of {whole}; name two files of one network")
            runs.append(partial(_infer, loop, given))
        turns = in_turn(runs, rounds)
    taken = [each.milliseconds for each in turns]
    rows = [(whole, expected["scores"].shape[1]), *((engine, count) for count in counts)]
    return [
        Counted(str(path), count, Spread.of(times), paired_ratio(taken[0], times))
        for (path, count), times in zip(rows, taken, strict=True)
    ]


def _infer(backend: Backend, inputs: Tensors, _: int) -> None:
    backend.infer(inputs)


def _score(scores: NDArray[np.generic], count: int) -> NDArray[np.float32]:
    """The lowest one of so many objects."""
    there = int((scores >= np.float32(0)).sum())
    if not 1 <= count <= there:
        raise UsageError(f"--counts {count}: the picture has {there} objects for this network; give 1 to {there}")
    return np.array(scores[count - 1], np.float32)


def _alike(expected: NDArray[np.generic], found: NDArray[np.generic]) -> bool:
    # Half of what a byte can tell apart, and more than rounding does in half precision.
    return bool(np.abs(expected.astype(np.float32) - found.astype(np.float32)).max() < 1 / 512)
