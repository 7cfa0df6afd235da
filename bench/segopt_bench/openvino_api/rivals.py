"""The two ways of running a file in OpenVINO, timed in turn."""

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

from segopt.backends.base import Backend
from segopt.backends.openvino import OpenVinoBackend
from segopt.backends.openvino_compile import HINTS, Hint, Settings, import_openvino
from segopt.errors import EngineError
from segopt.letterbox import letterbox_frames
from segopt.model.reading import read_card
from segopt_bench.latency.pictures import scene_pictures
from segopt_bench.reporting.spread import Spread, paired_ratio
from segopt_bench.reporting.turns import in_turn

_PICTURES = 4
_AT_ONCE = 8
"""Pictures of a round with the throughput hint: as many as can be under way, and some more."""

Images = Sequence[NDArray[np.uint8]]
Run = Callable[[Images], list[dict[str, NDArray[Any]]]]


@dataclass(frozen=True)
class Compared:
    """What both took, milliseconds a frame."""

    engine: str
    hint: Hint
    backend: Spread
    api: Spread
    times_as_fast: Spread
    """The backend, round by round."""
    cpu: Spread
    """The same in CPU time of all threads, which other programs disturb less."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)


def compare(engine: Path, rounds: int, threads: int | None = None) -> list[Compared]:
    """Time both ways with both hints.

    Args:
        engine: an ONNX file with a card.
        rounds: that count.
        threads: of the CPU; None takes one for each core.

    Raises:
        CardError: the file is missing, broken, or has no card.
        EngineError: OpenVINO is not installed or does not run it, or the two give different answers.
    """
    card = read_card(engine)
    frames = scene_pictures(max(_PICTURES, card.batch), card.canvas)
    images = [letterbox_frames(batch, card).image for batch in frames.batches(card.batch)]
    return [_compare(engine, images, rounds, Settings(threads=threads, hint=hint)) for hint in HINTS]


def _compare(engine: Path, images: Images, rounds: int, settings: Settings) -> Compared:
    with contextlib.closing(OpenVinoBackend(engine, settings)) as backend:
        at_once = 1 if settings.hint == "latency" else _AT_ONCE
        ways: list[Run] = [_backend_run(backend), _api_run(engine, settings)]
        batches = [[images[(i + k) % len(images)] for k in range(at_once)] for i in range(len(images))]
        _check(engine, *(way(batches[0]) for way in ways))
        taken = in_turn([partial(_run_round, way, batches) for way in ways], rounds)
    frames = at_once * len(images[0])
    ours, api = ([milliseconds / frames for milliseconds in each.milliseconds] for each in taken)
    ratios = paired_ratio(api, ours), paired_ratio(taken[1].cpu_seconds, taken[0].cpu_seconds)
    return Compared(str(engine), settings.hint, Spread.of(ours), Spread.of(api), *ratios)


def _run_round(way: Run, batches: Sequence[Images], number: int) -> None:
    way(batches[number % len(batches)])


def _backend_run(backend: Backend) -> Run:
    def run(images: Images) -> list[dict[str, NDArray[Any]]]:
        if backend.depth == 1:
            return [backend.infer({"image": image}) for image in images]
        return [each.result() for each in [backend.submit({"image": image}) for image in images]]

    return run


def _api_run(engine: Path, settings: Settings) -> Run:
    """As OpenVINO's documentation runs a model: it is called, or requests are started and waited for."""
    ov = import_openvino()
    compiled = ov.Core().compile_model(str(engine), settings.target, settings.config())
    names = [port.any_name for port in compiled.outputs]
    if settings.hint == "latency":
        return lambda images: [dict(zip(names, compiled([image]).to_tuple(), strict=True)) for image in images]
    count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    requests = [compiled.create_infer_request() for _ in range(count)]

    def answer(request: Any) -> dict[str, NDArray[Any]]:
        request.wait()
        return {name: request.get_tensor(name).data.copy() for name in names}

    def run(images: Images) -> list[dict[str, NDArray[Any]]]:
        answers = []
        for number, image in enumerate(images):
            request = requests[number % count]
            if number >= count:
                answers.append(answer(request))
            request.start_async([image])
        begun = len(images)
        return answers + [answer(requests[i % count]) for i in range(max(0, begun - count), begun)]

    return run


def _check(engine: Path, ours: list[dict[str, NDArray[Any]]], theirs: list[dict[str, NDArray[Any]]]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for name, array in one.items():
            if not np.allclose(array, other[name], rtol=1e-3, atol=1e-3):
                raise EngineError(f"{engine}: {name} differs between the backend and OpenVINO's own API")
