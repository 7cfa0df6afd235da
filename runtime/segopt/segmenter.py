"""The segmenter: a loaded model that turns frames into results."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from segopt.backends import Backend, Pending, open_backend
from segopt.decode import (
    Detections,
    Outputs,
    Queries,
    clip_boxes,
    decode_converged,
    decode_detections,
    decode_queries,
    decode_semantic,
)
from segopt.errors import SlotsWarning, SuppressionWarning, UsageError
from segopt.frame import Frame
from segopt.inputs import frames_of
from segopt.letterbox import Prepared, letterbox_frames
from segopt.merge import merge_codes
from segopt.model.card import Card, Mode
from segopt.model.categories import names_by_id
from segopt.model.reading import read_card
from segopt.model.tensors import MASK_SCORE, check_tensors
from segopt.query_results import instance_result, panoptic_result, semantic_result
from segopt.results import InstanceResult, PanopticResult, Result, SemanticResult
from segopt.stages import Stages
from segopt.thresholds import Thresholds, view_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from segopt.backends.openvino_compile import Hint, InferencePrecision
    from segopt.inputs import Picture


MOST_THREADS = 1024
"""More than any machine has cores."""
_NO_MASK = 2.0
"""Above all scores."""


def load(
    path: str | os.PathLike[str],
    device: str = "auto",
    score_threshold: float | None = None,
    *,
    mode: Mode | None = None,
    overlap_threshold: float | None = None,
    stuff_area: int | None = None,
    precision: str | None = None,
    threads: int | None = None,
    inference_precision: InferencePrecision | None = None,
    hint: Hint = "latency",
) -> Segmenter:
    """Load a model that ``segopt export`` or ``segopt build`` made.

    Args:
        path: the model file, ``NAME.onnx`` or ``NAME.plan``; or a model folder, of which the file is taken that
            fits this machine (``Segmenter.path`` says which).
        device: ``auto`` takes an NVIDIA GPU where one works, else the CPU: with ONNX Runtime, or with OpenVINO
            where that is installed and faster on this file, for which both are timed once
            (:attr:`Segmenter.notes` says so). ``cpu`` and ``cuda`` insist on ONNX Runtime; ``cuda:1`` is the
            second GPU; ``tensorrt`` is ONNX Runtime's TensorRT provider; ``openvino`` is OpenVINO on the CPU,
            ``openvino:GPU`` and ``openvino:NPU`` on Intel's others. A plan runs on an NVIDIA GPU alone.
        score_threshold: lowest score of a detection, 0 to 1; None takes the card's (0.5).
        mode: the view to give; None takes the model's own. A panoptic model also has a ``semantic`` and an
            ``instance`` view.
        overlap_threshold: panoptic: largest taken share of an instance's mask; None takes the card's (0.5).
        stuff_area: panoptic: smallest stuff segment, in pixels of the frame; None takes the card's (4096). A query
            network's file takes none of the three thresholds: its own were fixed when it was exported.
        precision: ``fp32``, ``fp16`` or ``int8``: which file of a model folder; None takes the folder's own.
        threads: CPU threads that the network computes with, in ONNX Runtime or OpenVINO; None takes one for each
            core. A plan computes on the GPU alone.
        inference_precision: OpenVINO's: ``f32``, or ``bf16`` on a device that has it, of a file of ``--precision
            fp16``: what is half there is bf16, geometry stays in single precision. None is ``f32``.
        hint: OpenVINO's: ``latency`` computes one inference at a time with all threads, ``throughput`` several at
            once with fewer each, for :func:`segopt.run` and other callers of :meth:`Segmenter.submit`.

    Raises:
        CardError: the file (of a plan, or its sidecar) is missing, broken, or was not made by segopt.
        EngineError: the model does not load on this machine.
        UsageError: a view that the model does not have, a threshold or number of threads out of range, or bf16
            where there is none.
    """
    path = Path(path)
    check_threads(threads)
    if hint not in ("latency", "throughput"):
        raise UsageError(f"hint {hint}: is neither latency nor throughput")
    if path.is_dir():
        from segopt.model_folder import choose

        path = choose(path, device, precision).candidate.path
    card = read_card(path)
    if precision not in (None, card.precision):
        raise UsageError(f"{path}: is {card.precision}, not {precision}; export it with --precision {precision}")
    view, thresholds = view_of(card, path, mode, score_threshold, overlap_threshold, stuff_area)
    backend = open_backend(path, device, threads, inference_precision=inference_precision, hint=hint)
    check_tensors(card, {**backend.inputs, **backend.outputs}, path)
    return Segmenter(card, backend, view, thresholds, path)


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that is none.

    Raises:
        UsageError: below 1, or above :data:`MOST_THREADS`.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"threads is {threads}, and must be from 1 to {MOST_THREADS}; leave it out for all cores")


@dataclass(frozen=True)
class Decoded:
    """What the network says of one frame, in the frame's own coordinates; masks are still those of their boxes."""

    frame: tuple[int, int]
    """Height and width of the frame."""
    semantic: NDArray[np.uint8] | None
    """Label map uint8 [H, W]; None in an instance view."""
    detections: Detections | None
    """None in a semantic view."""
    converged: bool
    """See :attr:`segopt.results.InstanceResult.converged`."""


class Segmenter(Stages):
    """A loaded model. Call it with frames; it is also a context manager that releases the model.

    The three steps of a call, :meth:`prepare`, :meth:`infer` and :meth:`finish`, can be called from three
    threads, so that they overlap on a video.
    """

    def __init__(
        self, card: Card, backend: Backend, mode: Mode, thresholds: Thresholds, path: Path | None = None
    ) -> None:
        self.card = card
        self.path = path
        """The file that was loaded; None where there is none."""
        self.backend = backend
        self.mode = mode
        self.thresholds = thresholds
        self._assemble = _QUERY_ASSEMBLERS[mode] if card.merge == "queries" else _ASSEMBLERS[mode]
        self._abandoned = False
        self._slots_ran_out = False

    @classmethod
    def from_backend(
        cls,
        card: Card,
        backend: Backend,
        *,
        mode: Mode | None = None,
        score_threshold: float | None = None,
        overlap_threshold: float | None = None,
        stuff_area: int | None = None,
    ) -> Segmenter:
        """A segmenter whose network is run by others: a server, another process, another runtime.

        >>> segmenter = segopt.Segmenter.from_backend(segopt.read_card("model.onnx"), mine)  # doctest: +SKIP

        Args:
            card: of the model, see :func:`segopt.read_card`.
            backend: has ``name``, ``inputs``, ``outputs``, ``infer`` and ``close`` as
                :class:`segopt.backends.Backend`, from which it is derived; the segmenter closes it. The input is
                ``image``, uint8 BGR [batch, height, width, 3] on the card's canvas.
            mode: the view to give; this and the thresholds are those of :func:`segopt.load`.
            score_threshold: lowest score of a detection, 0 to 1.
            overlap_threshold: panoptic: largest taken share of an instance's mask.
            stuff_area: panoptic: smallest stuff segment, in pixels of the frame.

        Raises:
            EngineError: the backend's inputs and outputs are not those that the card promises.
            UsageError: a view that the model does not have, or a threshold out of range.
        """
        view, thresholds = view_of(card, backend.name, mode, score_threshold, overlap_threshold, stuff_area)
        check_tensors(card, {**backend.inputs, **backend.outputs}, backend.name)
        return cls(card, backend, view, thresholds)

    @property
    def batch(self) -> int:
        """How many frames the model takes at once."""
        return self.card.batch

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for a person: why this runtime was chosen, and what it could do besides."""
        return self.backend.notes

    @property
    def names(self) -> dict[int, str]:
        """Category id to class name, of the view that this segmenter gives."""
        return names_by_id(self.card.categories[self.mode])

    def __repr__(self) -> str:
        card = self.card
        networks, size = " + ".join(card.networks.values()), "{}x{}".format(*card.canvas)
        return f"<Segmenter {self.mode} {networks} {size} {card.precision}, {self.backend.name}>"

    @overload
    def __call__(self, frames: Picture) -> Result: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, frames: Iterable[Picture]) -> list[Result]: ...
    def __call__(self, frames: Picture | Iterable[Picture]) -> Result | list[Result]:
        """Segment one frame or several.

        Args:
            frames: uint8 BGR [h, w, 3] as OpenCV reads it, of any size. A torch tensor of this type, shape and
                order of channels, a PIL image and the path of a picture are taken as well. Several: a batch
                [B, h, w, 3], or any iterable of such pictures, whose sizes may differ; of a generator no more
                than :attr:`batch` frames are held at once.

        Returns:
            One result; of several a list of them, in the frames' order.

        Raises:
            ValueError: what is no such picture; the message says what to pass.
            SourceError: a picture's file cannot be read.
            UsageError: the path of a video or folder, which :func:`segopt.stream` is for.
            EngineError: the runtime failed.
        """
        queue, several = frames_of(frames)
        results: list[Result] = []
        while batch := list(itertools.islice(queue, self.batch)):
            prepared = self.prepare(batch)
            results += self.finish(prepared, self.infer(prepared))
        if not all(result.converged for result in results):
            what, options = self.card.doubt
            warnings.warn(
                f"on a frame {what}; export the model with more {options}",
                SuppressionWarning,
                stacklevel=2,
            )
        return results if several else results[0]

    def prepare(self, frames: Sequence[Frame]) -> Prepared:
        """Letterbox up to :attr:`batch` frames, uint8 BGR [h, w, 3] each; unused slots are filled with padding.

        Raises:
            ValueError: too many frames, or an array that is no frame.
        """
        return letterbox_frames(frames, self.card)

    @property
    def mask_score(self) -> float:
        """The lowest score of a detection whose mask this view looks at."""
        return self.thresholds.score if self.mode != "semantic" else _NO_MASK

    def infer(self, prepared: Prepared, *, mask_score: float | None = None) -> Outputs:
        """Run the network on prepared frames; its output tensors by name.

        Args:
            prepared: from :meth:`prepare`.
            mask_score: a file for a CPU need not compute masks of detections with lower scores than this; None is
                :attr:`mask_score`. A caller who has several views of one inference gives the lowest of theirs.
        """
        return self.backend.infer(self._inputs(prepared, mask_score))

    @property
    def depth(self) -> int:
        """How many inferences the backend can have under way at once; 1 where it cannot work ahead."""
        return self.backend.depth

    def submit(self, prepared: Prepared) -> Pending[Outputs]:
        """Start the network on prepared frames; ``result()`` of what it returns gives what :meth:`infer` would."""
        return self.backend.submit(self._inputs(prepared, None))

    def _inputs(self, prepared: Prepared, mask_score: float | None) -> dict[str, NDArray[np.generic]]:
        inputs: dict[str, NDArray[np.generic]] = {"image": prepared.image}
        if MASK_SCORE in self.backend.optional:
            inputs[MASK_SCORE] = np.array(self.mask_score if mask_score is None else mask_score, np.float32)
        return inputs

    def decode(self, prepared: Prepared, outputs: Outputs) -> list[Decoded] | list[Queries]:
        """The first half of :meth:`finish`: what this view needs of the outputs, for each prepared frame."""
        if self.card.merge == "queries":
            return [decode_queries(outputs, i, letterbox) for i, letterbox in enumerate(prepared.letterboxes)]
        if self.mode != "semantic" and not self._slots_ran_out:
            self._look_at_slots(outputs, len(prepared.letterboxes))
        return [
            Decoded(
                letterbox.frame,
                None if self.mode == "instance" else decode_semantic(outputs, i, letterbox),
                None
                if self.mode == "semantic"
                else decode_detections(outputs, i, letterbox, self.thresholds.score),
                decode_converged(outputs, i),
            )
            for i, letterbox in enumerate(prepared.letterboxes)
        ]

    def _look_at_slots(self, outputs: Outputs, frames: int) -> None:
        """Say once that the last slot, which has the lowest score, holds an object."""
        last = outputs["scores"][:frames, -1].astype(np.float32)
        if (last >= self.thresholds.score).any():
            self._slots_ran_out = True
            warnings.warn(
                f"all {self.card.max_detections} slots of the model hold an object with a score from "
                f"{self.thresholds.score:g} on, so more may be missing; export it with more --max-detections",
                SlotsWarning,
                stacklevel=2,
            )

    def assemble(self, found: Decoded | Queries) -> Result:
        """The second half of :meth:`finish`: paste masks and merge."""
        return self._assemble(self, found)

    def abandon(self) -> None:
        """A thread hangs in :meth:`infer` and does not come back: :meth:`close` will leave the model alone."""
        self._abandoned = True

    def close(self) -> None:
        """Release the model."""
        if not self._abandoned:
            self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _semantic(self, found: Decoded) -> SemanticResult:
        assert found.semantic is not None
        return SemanticResult(found.semantic, self.card.categories["semantic"])

    def _instance(self, found: Decoded) -> InstanceResult:
        detections = found.detections
        assert detections is not None
        return InstanceResult(
            boxes=clip_boxes(detections.boxes, *found.frame),
            scores=detections.scores,
            labels=detections.labels,
            crops=detections.paste(found.frame, self.card.mask_paste),
            size=found.frame,
            categories=self.card.categories["instance"],
            converged=found.converged,
        )

    def _panoptic(self, found: Decoded) -> PanopticResult:
        detections = found.detections
        assert detections is not None
        assert found.semantic is not None
        merged = merge_codes(
            detections.boxes,
            detections.scores,
            detections.labels,
            detections.masks,
            found.semantic,
            self.card.stuff_classes,
            score_threshold=0.0,  # Decoding left out those below the threshold.
            overlap_threshold=self.thresholds.overlap,
            stuff_area=self.thresholds.stuff_area,
            paste=self.card.mask_paste,
            extent=detections.extent,
        )
        return PanopticResult.of_merged(merged, self.card.categories["panoptic"], found.converged)


_ASSEMBLERS: dict[Mode, Callable[[Segmenter, Any], Result]] = {
    "semantic": Segmenter._semantic,
    "instance": Segmenter._instance,
    "panoptic": Segmenter._panoptic,
}
_QUERY_ASSEMBLERS: dict[Mode, Callable[[Segmenter, Any], Result]] = {
    "semantic": lambda segmenter, found: semantic_result(found, segmenter.card),
    "instance": lambda segmenter, found: instance_result(found, segmenter.card),
    "panoptic": lambda segmenter, found: panoptic_result(found, segmenter.card),
}
