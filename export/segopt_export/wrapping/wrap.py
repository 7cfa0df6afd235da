"""From a file of another maker to a checked model of segopt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import onnx
import onnxruntime
from onnx import ModelProto, ValueInfoProto

from segopt.agreement import Figure
from segopt.builder.trial import synthetic_image
from segopt.errors import ExportError
from segopt.files.names import slug
from segopt.model.card import Card, WeightsOrigin
from segopt.version import __version__
from segopt_export.classes import categories_of, read_classes, read_entries
from segopt_export.exported import Exported
from segopt_export.onnx_file.checks import check_static, half_share
from segopt_export.onnx_file.output import check_output
from segopt_export.onnx_file.tensorrt_rules import OLDEST, refusals
from segopt_export.onnx_file.writing import add_card, write
from segopt_export.wrapping.checking import check_wrapped
from segopt_export.wrapping.foreign import Foreign, read_foreign, shape_of
from segopt_export.wrapping.kinds import find_answer
from segopt_export.wrapping.parts import input_part, logits_part, map_part
from segopt_export.wrapping.request import Kind, WrapRequest

_MOST_CLASSES = 256
_PREFIX = "network/"

Step = Callable[[str], AbstractContextManager[object]]
"""Called with a step's description; entered while the step runs."""


def wrap(request: WrapRequest, *, step: Step = lambda _: nullcontext()) -> Exported:
    """Put the contract around a network: frames in, label map out, the card inside; and check what came of it.

    Raises:
        ExportError: the file or its classes do not fit.
        UsageError: a number is out of range.
        SinkError: the file cannot be written.
    """
    request.check()
    path = request.model
    output = request.output or Path("engines") / f"semantic-{slug(path.stem)}.onnx"
    check_output(output)
    with step(f"network: {path}"):
        foreign = read_foreign(path, request.network_size or request.size, request.batch)
    kind, answer = find_answer(foreign, request.kind, request.take, path)
    canvas = request.size or foreign.image.size
    card = _card(request, foreign, kind, answer, canvas)
    with step("graph: frames to label map"):
        model = _composed(request, foreign, kind, answer, canvas)
        check_static(model)
    notes = _notes(request)
    if request.target == "tensorrt" and (refused := refusals(model)):
        notes.append(
            f"{OLDEST}, the oldest that segopt supports, does not take {', '.join(refused)}; newer ones may"
        )
    add_card(model, card)
    figures: list[Figure] = []
    images = synthetic_image(card)

    def verify(file: Path) -> None:
        figures.append(check_wrapped(file, foreign, answer.name, kind, request, images))
        if not figures[0].good:
            raise ExportError(
                f"{path}: the wrapped file differs from it: {figures[0].text}; report this, with the file"
            )

    with step("check: the wrapped file against the network, in ONNX Runtime"):
        write(model, output, verify=verify)
    return Exported(output, card, figures, notes)


def _composed(
    request: WrapRequest, foreign: Foreign, kind: Kind, answer: ValueInfoProto, canvas: tuple[int, int]
) -> ModelProto:
    network = onnx.compose.add_prefix(foreign.model, _PREFIX)
    taken = ValueInfoProto()
    taken.CopyFrom(answer)
    taken.name = "answer"
    mean, std = request.normalization
    before = input_part(
        network, foreign.image, "picture", canvas=canvas, colors=request.colors or "rgb", mean=mean, std=std
    )
    after = {"semantic-logits": logits_part, "semantic-map": map_part}[kind](network, taken, canvas)
    joined = onnx.compose.merge_models(before, network, [("picture", _PREFIX + foreign.image.name)])
    joined = onnx.compose.merge_models(joined, after, [(_PREFIX + answer.name, "answer")], outputs=["semantic"])
    joined.producer_name, joined.producer_version = "segopt", __version__
    del joined.graph.value_info[:]
    del joined.metadata_props[:]
    return joined


def _card(
    request: WrapRequest, foreign: Foreign, kind: Kind, answer: ValueInfoProto, canvas: tuple[int, int]
) -> Card:
    path, channels = request.model, shape_of(answer)[1] or 0
    if kind == "semantic-map":
        entries = read_entries(request.classes)
    else:
        # One channel is a class beside a background.
        entries = read_classes(request.classes, max(2, channels), "semantic")
    if len(entries) > _MOST_CLASSES:
        raise ExportError(f"{path}: has {len(entries)} classes, and a label map holds {_MOST_CLASSES}")
    mean, std = request.normalization
    card = Card(
        mode="semantic",
        networks={"semantic": path.stem},
        canvas=canvas,
        batch=request.batch,
        precision=_precision(foreign.model),
        categories={"semantic": categories_of(entries, "semantic")},
        weights={"semantic": WeightsOrigin(path.name, hashlib.sha256(path.read_bytes()).hexdigest())},
        mean=mean,
        std=std,
        target=request.target,
        half_share=half_share(foreign.model),
        versions={"segopt": __version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
    )
    return Card.from_json(card.to_json(), source="the new card")


def _precision(model: ModelProto) -> str:
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    return "fp16" if half_share(model) > 0 else "fp32"


def _notes(request: WrapRequest) -> list[str]:
    """What was taken for granted."""
    notes = []
    if request.mean is None or request.std is None:
        mean, std = (",".join(f"{value:g}" for value in each) for each in request.normalization)
        notes.append(f"normalization: --mean {mean} --std {std}, ImageNet's; the file does not say its own")
    if request.colors is None:
        notes.append("colors: --colors rgb; the file does not say which order it takes")
    return notes
