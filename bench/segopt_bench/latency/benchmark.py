"""From engines to a report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from segopt.backends.openvino_compile import InferencePrecision
from segopt.errors import SegoptError, UsageError
from segopt.model.card import Card
from segopt.segmenter import Segmenter
from segopt_bench.latency.accuracy import Accuracy, measure_accuracy, write_scenes
from segopt_bench.latency.contenders import (
    EagerOptions,
    Group,
    check_inference_precision,
    eager_contenders,
    engine_contenders,
    group_engines,
    load_engine,
)
from segopt_bench.latency.layers import LayerProfile, profile_layers
from segopt_bench.latency.original import is_wrapped, original_contenders
from segopt_bench.latency.pictures import Pictures, scene_pictures, source_pictures
from segopt_bench.latency.report import GroupReport, Report
from segopt_bench.latency.rounds import Measured, Progress, run_rounds
from segopt_bench.reporting.machine import (
    UNKNOWN,
    conditions,
    describe_machine,
    this_moment,
    torch_threads,
    warnings,
)
from segopt_bench.requirements import need_evaluation_packages

Watch = Callable[[str], AbstractContextManager[Progress]]
"""Called with what is being done; gives a progress callback for as long as it lasts."""

_PROFILED = 5
"""Inferences that a layer profile is the mean of."""


def _unwatched(_what: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda _done, _all: None)


@dataclass(frozen=True)
class Request:
    """What to measure."""

    engines: Sequence[Path]
    data: str | None = None
    """Source of the pictures; None takes synthetic scenes of the canvas's size."""
    pictures: int = 8
    rounds: int = 30
    warmup: int = 3
    device: str = "auto"
    eager: EagerOptions = field(default_factory=EagerOptions)
    accuracy_scenes: int = 0
    """Scenes to evaluate each engine on; 0 evaluates none."""
    layers: bool = False
    inference_precision: InferencePrecision | None = None
    """OpenVINO's; bf16 is for the engines in FP16 alone."""


def run_benchmark(request: Request, *, watch: Watch = _unwatched) -> Report:
    """Measure engines and the PyTorch networks that they came from.

    What there is not of PyTorch is missing from the report, with the reason.

    Raises:
        SegoptError: an engine does not load, or the pictures cannot be read.
    """
    for name, value in (("rounds", request.rounds), ("pictures", request.pictures)):
        if value < 1:
            raise UsageError(f"{name} is {value}, and must be 1 or more")
    if request.accuracy_scenes:
        need_evaluation_packages("--accuracy")
    groups = group_engines(request.engines)
    check_inference_precision([card for group in groups for card in group.cards], request.inference_precision)
    source = None if request.data is None else source_pictures(request.data, request.pictures)
    before = this_moment()
    reports, origins = [], []
    for group in groups:
        pictures = source or scene_pictures(request.pictures, group.card.canvas)
        origins.append(pictures.origin)
        reports.append(_measure_group(group, pictures, request, watch))
    after = this_moment()
    machine, threads = describe_machine(), torch_threads()
    facts = {**conditions(before, after), "PyTorch threads": UNKNOWN if threads is None else str(threads)}
    return Report(
        groups=tuple(reports),
        machine=machine,
        conditions=facts,
        pictures="; ".join(dict.fromkeys(origins)),
        rounds=request.rounds,
        warmup=request.warmup,
        warnings=tuple(warnings(before, after, machine.cores, threads)),
    )


def _measure_group(group: Group, pictures: Pictures, request: Request, watch: Watch) -> GroupReport:
    with ExitStack() as stack:
        with watch(f"loading {group.title}"):
            card = group.card
            loaded = [
                (path, stack.enter_context(load_engine(path, own, request.device, request.inference_precision)))
                for path, own in zip(group.engines, group.cards, strict=True)
            ]
            thresholds = loaded[0][1].thresholds
            wrapped = is_wrapped(card)
            if wrapped:
                rivals, missing = original_contenders(card, loaded[0][1], request.eager.files)
            else:
                rivals, missing = eager_contenders(card, thresholds, request.device, request.eager)
        engines = engine_contenders(loaded)
        with watch(group.title) as progress:
            measured = run_rounds(
                [*rivals, *engines],
                pictures.batches(card.batch),
                rounds=request.rounds,
                warmup=request.warmup,
                progress=progress,
            )
        names = [engine.name for engine in engines]
        notes = [*group.notes, *pictures.notes, *_unconverged(measured, group.card)]
        accuracy: dict[str, Accuracy] = {}
        if request.accuracy_scenes:
            evaluated = dict(zip(names, (segmenter for _, segmenter in loaded), strict=True))
            first = rivals[0].name if rivals and not wrapped else None
            accuracy, remarks = _measure_accuracies(group, evaluated, request, watch, eager=first)
            notes += remarks
        layers: dict[str, LayerProfile] = {}
        if request.layers:
            images = [loaded[0][1].prepare(batch).image for batch in pictures.batches(card.batch)[:_PROFILED]]
            for name, path in zip(names, group.engines, strict=True):
                try:
                    with watch(f"layers of {name}"):
                        layers[name] = profile_layers(path, images)
                except SegoptError as error:
                    notes.append(str(error))
    return GroupReport(
        title=group.title,
        card=card,
        fit=pictures.fit(card.canvas),
        measured=tuple(measured),
        missing=tuple(missing),
        accuracy=accuracy,
        layers=layers,
        notes=tuple(notes),
    )


def _unconverged(measured: Sequence[Measured], card: Card) -> list[str]:
    what, options = card.doubt
    return [
        f"{each.name}: on {each.unconverged:.0%} of the frames {what}; export it with more {options}"
        for each in measured
        if each.unconverged
    ]


def _measure_accuracies(
    group: Group, engines: dict[str, Segmenter], request: Request, watch: Watch, *, eager: str | None
) -> tuple[dict[str, Accuracy], list[str]]:
    """Accuracy by contender's name, and remarks; PyTorch's is that of its networks behind segopt's own merging."""
    accuracy: dict[str, Accuracy] = {}
    remarks: list[str] = []
    count, size = request.accuracy_scenes, group.card.canvas
    evaluated = dict(engines)
    if eager is not None:
        from segopt_bench.pytorch.network import torch_segmenter

        first = next(iter(engines.values()))
        evaluated = {eager: torch_segmenter(group.card, first.thresholds, request.eager.files), **evaluated}
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder)
        with watch(f"{count} scenes for accuracy") as progress:
            write_scenes(scenes, count, size, lambda done: progress(done, count))
        for name, segmenter in evaluated.items():
            try:
                with watch(f"accuracy of {name}") as progress:
                    accuracy[name], notes = measure_accuracy(segmenter, scenes, progress)
            except SegoptError as error:
                notes = [f"no accuracy: {error}"]
            remarks += [note for note in notes if note not in remarks]
    remarks.append(
        f"accuracy in percent, on {count} synthetic scenes of the canvas's size; everybody's outputs were decoded "
        "and merged by segopt"
    )
    return accuracy, remarks
