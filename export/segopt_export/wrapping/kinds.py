"""Which of a network's outputs are its answer, and of what kind that is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import TensorProto, ValueInfoProto

from segopt.errors import ExportError
from segopt_export.wrapping.foreign import Foreign, shape_of, type_name
from segopt_export.wrapping.request import Kind

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_WHOLES = (TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8, TensorProto.INT8)

Sides = tuple[int, ...]
Outputs = Mapping[str, ValueInfoProto]
"""By part of the answer."""


@dataclass(frozen=True)
class Answer:
    """What a network answers."""

    kind: Kind
    outputs: Outputs

    def __str__(self) -> str:
        if len(self.outputs) == 1:
            return f"{next(iter(self.outputs.values())).name} ({self.kind})"
        return f"{' '.join(f'{part}={value.name}' for part, value in self.outputs.items())} ({self.kind})"


@dataclass(frozen=True)
class _Form:
    """What the answer of a kind looks like."""

    parts: Mapping[str, tuple[tuple[int, ...], str]]
    """Part to the types that it can have, and a pattern of the names that it often has."""
    fits: Callable[[Mapping[str, Sides], int], bool]
    """Whether outputs of these shapes can be the parts, for so many pictures at once."""
    wants: str
    """For messages."""


def _logits_fit(shapes: Mapping[str, Sides], batch: int) -> bool:
    return len(shapes["answer"]) == 4 and shapes["answer"][0] == batch


def _map_fits(shapes: Mapping[str, Sides], batch: int) -> bool:
    sides = shapes["answer"]
    return (len(sides) == 3 or (len(sides) == 4 and sides[1] == 1)) and sides[0] == batch


def _detr_fits(shapes: Mapping[str, Sides], batch: int) -> bool:
    boxes, logits, masks = shapes["boxes"], shapes["logits"], shapes["masks"]
    return (
        (len(boxes), len(logits), len(masks)) == (3, 3, 4)
        and boxes[2] == 4
        and all(sides[:2] == (batch, boxes[1]) for sides in (logits, masks))
        and boxes[0] == batch
    )


def _maskrcnn_fits(shapes: Mapping[str, Sides], batch: int) -> bool:
    most = shapes["scores"][-1] if shapes["scores"] else 0
    whole = {"boxes": (most, 4), "labels": (most,), "scores": (most,)}
    masks = shapes["masks"]
    alone = batch == 1
    return (
        all(shapes[part] == (batch, *own) or (alone and shapes[part] == own) for part, own in whole.items())
        and len(masks) > 2
        and masks[-1] == masks[-2] > 1
        and masks[:-2] in ((batch, most, 1), (batch, most), *(((most, 1), (most,)) if alone else ()))
    )


def _yolo_fits(shapes: Mapping[str, Sides], batch: int) -> bool:
    predictions, prototypes = shapes["predictions"], shapes["prototypes"]
    if (len(predictions), len(prototypes)) != (3, 4) or not predictions[0] == prototypes[0] == batch:
        return False
    amount = prototypes[1]
    return predictions[2] == 6 + amount or predictions[1] > 4 + amount


FORMS: Mapping[Kind, _Form] = {
    "semantic-logits": _Form({"answer": (_FLOATS, "")}, _logits_fit, "float [batch, classes, height, width]"),
    "semantic-map": _Form(
        {"answer": (_WHOLES, "")},
        _map_fits,
        "whole numbers [batch, height, width] or [batch, 1, height, width]",
    ),
    "detr-masks": _Form(
        {"boxes": (_FLOATS, "box|dets"), "logits": (_FLOATS, "logit|label|class"), "masks": (_FLOATS, "mask")},
        _detr_fits,
        "boxes [batch, N, 4], logits [batch, N, classes] and masks [batch, N, height, width]",
    ),
    "maskrcnn": _Form(
        {
            "boxes": (_FLOATS, "box|dets"),
            "labels": (_WHOLES, "label|class"),
            "scores": (_FLOATS, "score"),
            "masks": (_FLOATS, "mask"),
        },
        _maskrcnn_fits,
        "boxes [N, 4], labels [N] (whole numbers), scores [N] and masks [N, 1, M, M]",
    ),
    "yolo-seg": _Form(
        {"predictions": (_FLOATS, "output0|pred"), "prototypes": (_FLOATS, "output1|proto")},
        _yolo_fits,
        "predictions [batch, 4 + classes + K, anchors] or [batch, N, 6 + K], and prototypes "
        "[batch, K, height, width]",
    ),
}


def find_answer(foreign: Foreign, kind: Kind | None, take: Mapping[str, str], path: Path) -> Answer:
    """The outputs to take, and their kind. Where several kinds fit, the one with most outputs is meant.

    Args:
        foreign: the network.
        kind: that was asked for; None is any.
        take: part of the answer to the name of the output that was asked for.
        path: of the file, for messages.

    Raises:
        ExportError: none fits, or several do; lists the outputs, and says which option decides.
    """
    known = {value.name: value for value in foreign.outputs}
    for name in take.values():
        if name not in known:
            raise ExportError(f"{path}: has no output {name!r}; it has {_listed(foreign.outputs)}")
    kinds = FORMS if kind is None else {kind: FORMS[kind]}
    kinds = {name: form for name, form in kinds.items() if take.keys() <= form.parts.keys()}
    if not kinds:
        parts = "; ".join(f"{name}: {', '.join(form.parts)}" for name, form in FORMS.items())
        raise ExportError(f"{path}: --take {', '.join(take)} names no parts of one kind; they are {parts}")
    found = [answer for name, form in kinds.items() for answer in _answers(foreign, name, form, take)]
    if not found:
        wanted = " or ".join(form.wants for form in kinds.values())
        what = (
            "none of its outputs is" if len(kinds) > 1 or len(next(iter(kinds.values())).parts) == 1 else "has no"
        )
        taken = [known[name] for name in take.values()] or foreign.outputs
        raise ExportError(f"{path}: {what} {wanted}; it has {_listed(taken)}")
    most = max(len(answer.outputs) for answer in found)
    found = [answer for answer in found if len(answer.outputs) == most]
    if len(found) > 1:
        named = [answer for answer in found if _has_usual_names(answer)]
        if len(named) == 1 and most > 1:
            return named[0]
        listed = ", ".join(str(answer) for answer in found)
        parts = "NAME" if most == 1 else ",".join(f"{part}=NAME" for part in found[0].outputs)
        raise ExportError(
            f"{path}: several outputs could be meant: {listed}; choose with --take {parts} or --as KIND"
        )
    return found[0]


def _answers(foreign: Foreign, kind: Kind, form: _Form, take: Mapping[str, str]) -> list[Answer]:
    choices = [
        [
            value
            for value in foreign.outputs
            if take.get(part, value.name) == value.name and value.type.tensor_type.elem_type in types
        ]
        for part, (types, _) in form.parts.items()
    ]
    found = []
    for values in itertools.product(*choices):
        outputs = dict(zip(form.parts, values, strict=True))
        shapes = {part: tuple(side or 0 for side in shape_of(value)) for part, value in outputs.items()}
        if len({value.name for value in values}) == len(values) and form.fits(shapes, foreign.image.batch):
            found.append(Answer(kind, outputs))
    return found


def _has_usual_names(answer: Answer) -> bool:
    parts = FORMS[answer.kind].parts
    return all(re.search(parts[part][1], value.name.lower()) for part, value in answer.outputs.items())


def _listed(outputs: Sequence[ValueInfoProto]) -> str:
    return ", ".join(
        f"{value.name} {type_name(value.type.tensor_type.elem_type)} {shape_of(value)}" for value in outputs
    )
