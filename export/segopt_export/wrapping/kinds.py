"""Which of a network's outputs is its answer, and of what kind that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from onnx import TensorProto, ValueInfoProto

from segopt.errors import ExportError
from segopt_export.wrapping.foreign import Foreign, shape_of, type_name
from segopt_export.wrapping.request import Kind

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_WHOLES = (TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8, TensorProto.INT8)


def _is_logits(value: ValueInfoProto, batch: int) -> bool:
    sides = shape_of(value)
    return value.type.tensor_type.elem_type in _FLOATS and len(sides) == 4 and sides[0] == batch


def _is_map(value: ValueInfoProto, batch: int) -> bool:
    sides = shape_of(value)
    plain = len(sides) == 3 or (len(sides) == 4 and sides[1] == 1)
    return value.type.tensor_type.elem_type in _WHOLES and plain and sides[0] == batch


FITS: Mapping[Kind, Callable[[ValueInfoProto, int], bool]] = {
    "semantic-logits": _is_logits,
    "semantic-map": _is_map,
}
_WANTS: Mapping[Kind, str] = {
    "semantic-logits": "float [batch, classes, height, width]",
    "semantic-map": "whole numbers [batch, height, width] or [batch, 1, height, width]",
}


def find_answer(foreign: Foreign, kind: Kind | None, take: str | None, path: Path) -> tuple[Kind, ValueInfoProto]:
    """The output to take, and its kind.

    Args:
        foreign: the network.
        kind: that was asked for; None is any.
        take: the output's name that was asked for; None is the one that fits.
        path: of the file, for messages.

    Raises:
        ExportError: none fits, or several do; lists the outputs, and says which option decides.
    """
    outputs = [value for value in foreign.outputs if take in (None, value.name)]
    if not outputs:
        raise ExportError(f"{path}: has no output {take!r}; it has {_listed(foreign.outputs)}")
    kinds = FITS if kind is None else {kind: FITS[kind]}
    found: list[tuple[Kind, ValueInfoProto]] = [
        (name, value) for value in outputs for name, fits in kinds.items() if fits(value, foreign.image.batch)
    ]
    if not found:
        wanted = " or ".join(_WANTS[name] for name in kinds)
        raise ExportError(f"{path}: none of its outputs is {wanted}; it has {_listed(outputs)}")
    if len(found) > 1:
        names = ", ".join(f"{value.name} ({name})" for name, value in found)
        raise ExportError(f"{path}: several outputs could be meant: {names}; choose with --take NAME or --as KIND")
    return found[0]


def _listed(outputs: Sequence[ValueInfoProto]) -> str:
    return ", ".join(
        f"{value.name} {type_name(value.type.tensor_type.elem_type)} {shape_of(value)}" for value in outputs
    )
