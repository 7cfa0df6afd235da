"""Evaluates an engine, or a folder of panoptic predictions, on annotated pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segopt.errors import SourceError
from segopt.frame import Frame
from segopt.model.card import MODES, Mode
from segopt.model.categories import Category
from segopt.segmenter import Segmenter
from segopt.sources.pictures import read_picture
from segopt.thresholds import Thresholds
from segopt_bench.evaluation.coco_files import categories_of, kind_of, panoptic_truth, read_json
from segopt_bench.evaluation.data_folder import Data
from segopt_bench.evaluation.evaluators import Evaluator, InstanceEvaluator, PanopticEvaluator, SemanticEvaluator
from segopt_bench.evaluation.panoptic_quality import SegmentMap
from segopt_bench.evaluation.problems import EvaluationError, LeftOut, LeftOutError, summarize
from segopt_bench.evaluation.scores import Evaluation
from segopt_bench.evaluation.truth import PanopticTruth

Progress = Callable[[int, int], None]
"""Is told how many pictures are done, of how many."""


def evaluate_engine(
    segmenter: Segmenter,
    data: Data,
    *,
    modes: Collection[Mode] | None = None,
    limit: int | None = None,
    progress: Progress = lambda _done, _all: None,
) -> Evaluation:
    """Run a model over the pictures and evaluate each of its views that there is ground truth for.

    AP takes every detection that the network gives, PQ those above the segmenter's own thresholds.

    Args:
        segmenter: the model.
        data: pictures with ground truth.
        modes: views to evaluate; None is all that the model and the data have.
        limit: how many pictures at most, the first ones.
        progress: called after each batch.

    Raises:
        EvaluationError: there is nothing to evaluate, or not one picture that can be.
        EngineError: the runtime failed.
    """
    evaluators, notes = _evaluators(segmenter, data, modes)
    views = {mode: _view(segmenter, mode) for mode in evaluators}
    evaluation = _Evaluation(list(evaluators.values()), data, limit)
    evaluation.notes += [*_notes_on_weights(segmenter), *notes]
    unconverged = done = 0
    keys = evaluation.keys
    for batch in _frames(evaluation, data, segmenter.batch):
        prepared = segmenter.prepare([frame for _, frame in batch])
        outputs = segmenter.infer(prepared, mask_score=min(view.mask_score for view in views.values()))
        unconverged_keys = set()
        for mode, view in views.items():
            for (key, _), result in zip(batch, view.finish(prepared, outputs), strict=True):
                evaluation.attempt(evaluators[mode], key, partial(evaluators[mode].add, key, result))
                if not result.converged:
                    unconverged_keys.add(key)
        unconverged += len(unconverged_keys)
        done += len(batch)
        progress(min(done + evaluation.unread, len(keys)), len(keys))
    if unconverged:
        evaluation.notes.append(f"on {unconverged} pictures {segmenter.card.doubt[0]}")
    return evaluation.finish()


def evaluate_predictions(
    path: Path, data: Data, *, limit: int | None = None, progress: Progress = lambda _done, _all: None
) -> Evaluation:
    """Evaluate the panoptic maps that ``segopt run --save panoptic`` wrote.

    Maps and ground truth belong together by the names of their pictures; where not one name is in both (frames of
    a video), by image id.

    Args:
        path: the folder with ``panoptic.json``, or that file.
        data: ground truth; its pictures themselves are not read.
        limit: how many pictures at most.
        progress: called after each picture.

    Raises:
        EvaluationError: no predictions, no panoptic ground truth, or nothing in common.
    """
    if data.panoptic is None:
        raise EvaluationError(f"{data.source}: has no panoptic ground truth, which --predictions are held against")
    found = _open_predictions(path)
    evaluator = PanopticEvaluator(data.panoptic, categories_of(found.classes))
    keys = _pair(data.panoptic, found)
    evaluation = _Evaluation([evaluator], None, limit, keys)
    if not _same_names(data.panoptic, found):
        evaluation.notes.append("predictions and ground truth share no picture's name: paired by image id")
    for done, key in enumerate(evaluation.keys, start=1):
        evaluation.attempt(evaluator, key, partial(_add_map, evaluator, key, found, keys[key]))
        progress(done, len(evaluation.keys))
    return evaluation.finish()


class _Evaluation:
    """Keeps account of what is evaluated and what is left out."""

    def __init__(
        self, evaluators: Sequence[Evaluator], data: Data | None, limit: int | None, found: Collection[str] = ()
    ) -> None:
        self.evaluators = evaluators
        self.left_out = [entry for evaluator in evaluators for entry in evaluator.left_out]
        self.notes = [note for evaluator in evaluators for note in evaluator.notes]
        self.unread = 0
        present = data.images.keys() if data is not None else found
        lack = "no such picture" if data is not None else "no prediction"
        for evaluator in evaluators:
            self.left_out += [
                LeftOut(key, lack, evaluator.measure) for key in evaluator.keys if key not in present
            ]
            if data is not None:
                self.left_out += [
                    LeftOut(key, "it has no annotation", evaluator.measure)
                    for key in present
                    if key not in evaluator.keys and key not in {entry.picture for entry in evaluator.left_out}
                ]
        keys = [key for key in present if any(key in evaluator.keys for evaluator in evaluators)]
        self.keys = keys if limit is None else keys[:limit]
        if limit is not None and limit < len(keys):
            self.notes.append(f"the first {limit} of {len(keys)} pictures, as --limit asks")

    def attempt(self, evaluator: Evaluator, key: str, add: Callable[[], None]) -> None:
        """Let an evaluator add a picture that it has ground truth for; note why it could not."""
        if key not in evaluator.keys:
            return
        try:
            add()
        except LeftOutError as error:
            self.left_out.append(LeftOut(key, str(error), evaluator.measure))

    def finish(self) -> Evaluation:
        for evaluator in self.evaluators:
            if evaluator.count == 0:
                reasons = summarize(entry for entry in self.left_out if entry.measure == evaluator.measure)
                raise EvaluationError(f"{evaluator.measure}: no picture can be evaluated; {'; '.join(reasons)}")
        scores = tuple(scores for evaluator in self.evaluators for scores in evaluator.scores())
        return Evaluation(scores, tuple(self.left_out), tuple(self.notes))


def _evaluators(
    segmenter: Segmenter, data: Data, modes: Collection[Mode] | None
) -> tuple[dict[Mode, Evaluator], list[str]]:
    """An evaluator for each view, and notes on views that nobody asked for and that cannot be evaluated."""
    card = segmenter.card
    there = [mode for mode in MODES if getattr(data, mode) is not None]
    for mode in modes or ():
        if mode not in card.views:
            raise EvaluationError(f"the model has no {mode} view; it has {', '.join(card.views)}")
        if mode not in there:
            raise EvaluationError(f"{data.source}: has no {mode} ground truth; it has {', '.join(there)}")
    chosen = [mode for mode in card.views if mode in (modes or there)]
    if not chosen:
        raise EvaluationError(
            f"{data.source}: has {', '.join(there)} ground truth, and the model gives {', '.join(card.views)}"
        )
    evaluators: dict[Mode, Evaluator] = {}
    notes: list[str] = []
    for mode in chosen:
        try:
            evaluators[mode] = _evaluator(mode, data, card.categories[mode])
        except EvaluationError as error:
            if modes or mode == card.mode or (mode == chosen[-1] and not evaluators):
                raise
            notes.append(f"{mode} is left out: {error}")
    return evaluators, notes


def _notes_on_weights(segmenter: Segmenter) -> list[str]:
    card = segmenter.card
    return [
        f"{card.networks[branch]} has RANDOM weights: its figures mean nothing"
        for branch, origin in card.weights.items()
        if origin.is_random
    ]


def _evaluator(mode: Mode, data: Data, classes: Sequence[Category]) -> Evaluator:
    if mode == "semantic" and data.semantic is not None:
        return SemanticEvaluator(data.semantic, classes)
    if mode == "instance" and data.instance is not None:
        return InstanceEvaluator(data.instance, classes)
    assert data.panoptic is not None
    return PanopticEvaluator(data.panoptic, classes)


def _view(segmenter: Segmenter, mode: Mode) -> Segmenter:
    """The same loaded model with another view; AP wants every detection."""
    limits = segmenter.thresholds
    if mode == "instance":
        limits = Thresholds(0.0, limits.overlap, limits.stuff_area)
    return Segmenter(segmenter.card, segmenter.backend, mode, limits)


def _frames(evaluation: _Evaluation, data: Data, size: int) -> Iterator[list[tuple[str, Frame]]]:
    batch: list[tuple[str, Frame]] = []
    for key in evaluation.keys:
        try:
            batch.append((key, read_picture(data.images[key])))
        except SourceError:
            evaluation.unread += 1
            evaluation.left_out += [
                LeftOut(key, "its picture is damaged, or cannot be read", evaluator.measure)
                for evaluator in evaluation.evaluators
                if key in evaluator.keys
            ]
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _add_map(evaluator: PanopticEvaluator, key: str, found: PanopticTruth, found_key: str) -> None:
    evaluator.add_map(key, _agreeing(found, found_key))


def _open_predictions(path: Path) -> PanopticTruth:
    file = path / "panoptic.json" if path.is_dir() else path
    if not file.is_file():
        raise EvaluationError(f"{file}: no such file; make one with `segopt run --save panoptic`")
    document = read_json(file)
    if kind_of(document, file.name) != "panoptic":
        raise EvaluationError(f"{file}: holds no panoptic maps; make it with `segopt run --save panoptic`")
    return panoptic_truth(file, document)


def _same_names(truth: PanopticTruth, found: PanopticTruth) -> dict[str, str]:
    return {key: key for key in truth.pictures if key in found.pictures}


def _pair(truth: PanopticTruth, found: PanopticTruth) -> dict[str, str]:
    """Key in the ground truth to key in the predictions."""
    if same := _same_names(truth, found):
        return same
    by_id = {entry.image_id: key for key, entry in found.pictures.items()}
    pairs = {key: by_id[entry.image_id] for key, entry in truth.pictures.items() if entry.image_id in by_id}
    if not pairs:
        raise EvaluationError(
            f"{found.source}: has not one picture in common with {truth.source}, by name or by image id"
        )
    return pairs


def _agreeing(found: PanopticTruth, key: str) -> SegmentMap:
    """A predicted map whose pixels and segments agree, as panopticapi demands."""
    segment_map = found.read(key)
    if {int(i) for i in np.unique(segment_map.ids)} - {0} != {segment.id for segment in segment_map.segments}:
        raise LeftOutError("its predicted PNG and json do not list the same segments")
    return segment_map
