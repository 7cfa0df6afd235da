"""What all instance networks' answers have in common: classes by index, and the contract's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto

from segopt.draw.palette import class_colors
from segopt.errors import ExportError
from segopt.model.categories import Category, is_no_class
from segopt_export.classes import ClassEntry, read_entries
from segopt_export.wrapping.foreign import ImageInput
from segopt_export.wrapping.parts import Named, Part
from segopt_export.wrapping.request import DetectionOptions

NO_CLASS = -1


@dataclass(frozen=True)
class Classes:
    """Classes of a detector."""

    categories: tuple[Category, ...]
    ids: tuple[int, ...]
    """The category id of each of the network's class indices; -1 where an index is no class."""

    @property
    def named(self) -> list[int]:
        """The indices that are classes."""
        return [index for index, identity in enumerate(self.ids) if identity != NO_CLASS]

    @property
    def table(self) -> NDArray[np.int64]:
        """The ids as an array, int64 [C]."""
        return np.array(self.ids, np.int64)


@dataclass(frozen=True)
class Around:
    """What a network's answer is read with."""

    canvas: tuple[int, int]
    """Height and width in pixels."""
    image: ImageInput
    classes: Classes
    options: DetectionOptions

    @property
    def scale(self) -> NDArray[np.float32]:
        """float32 [4]: pixels of the canvas to one of the network's picture, for x0, y0, x1, y1."""
        height, width = (side / own for side, own in zip(self.canvas, self.image.size, strict=True))
        return np.array([width, height, width, height], np.float32)


def classes_of_logits(path: Path, count: int) -> Classes:
    """The classes of a network with a logit for each.

    Args:
        path: JSON file of class names, or of COCO's categories.
        count: of the logits. As many names are one for each; one less leaves the last logit, which is of no
            object; else all categories have ids, and those are the logits' indices.

    Raises:
        ExportError: the file is missing, no such list, or does not fit.
    """
    entries = read_entries(path)
    if len(entries) in (count, count - 1):
        return _classes(dict(enumerate(entries)), count)
    by_id = _by_own_id(entries)
    if by_id is None or max(by_id) >= count:
        raise ExportError(
            f"{path}: has {len(entries)} classes, and the network {count} class logits; give one name for each "
            "(or for each but the last, which is no object), or COCO categories whose ids are the logits' indices"
        )
    return _classes(by_id, count)


def classes_of_scores(path: Path, count: int) -> Classes:
    """As :func:`classes_of_logits`, where none is of no object: one name for each.

    Raises:
        ExportError: the file is missing, no such list, or does not fit.
    """
    entries = read_entries(path)
    if len(entries) != count:
        raise ExportError(f"{path}: has {len(entries)} classes, and the network {count}; give one name for each")
    return _classes(dict(enumerate(entries)), count, keep_all=True)


def classes_of_labels(path: Path) -> Classes:
    """The classes of a network that gives labels, of which 0 is the background.

    Categories with ids have those labels; names without are 1, 2, 3 and so on, a background before them is 0.

    Raises:
        ExportError: the file is missing, or no such list.
    """
    entries = read_entries(path)
    by_label = _by_own_id(entries)
    if by_label is None:
        by_label = dict(enumerate(entries, start=0 if is_no_class(entries[0].name) else 1))
    return _classes(by_label, max(by_label) + 1)


def _by_own_id(entries: Sequence[ClassEntry]) -> dict[int, ClassEntry] | None:
    by_id = {entry.id: entry for entry in entries if entry.id is not None}
    return by_id if len(by_id) == len(entries) else None


def _classes(by_index: dict[int, ClassEntry], count: int, *, keep_all: bool = False) -> Classes:
    """Ids are the entries' own where all have one, and none twice; else the indices."""
    real = {index: entry for index, entry in by_index.items() if keep_all or not is_no_class(entry.name)}
    own = _by_own_id(list(real.values()))
    ids = {index: index if own is None or entry.id is None else entry.id for index, entry in real.items()}
    colors = class_colors(count)
    categories = tuple(
        Category(ids[index], entry.name, is_thing=True, color=entry.color or colors[index])
        for index, entry in real.items()
    )
    return Classes(categories, tuple(ids.get(index, NO_CLASS) for index in range(count)))


def named(value: ValueInfoProto) -> Named:
    """A tensor's name, type and fixed shape."""
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [side.dim_value for side in tensor.shape.dim]


def single(part: Part, value: ValueInfoProto) -> str:
    """A tensor in single precision: geometry and scores are computed in it, whatever the network gives."""
    name, type_, _ = named(value)
    return name if type_ == TensorProto.FLOAT else part.cast(name, TensorProto.FLOAT)


def corners(part: Part, centered: str) -> str:
    """Boxes [B, N, 4], center x and y, width and height -> x0, y0, x1, y1."""
    center, size = part.columns(centered, 0, 2), part.columns(centered, 2, 4)
    half = part.add("Mul", size, np.array(0.5, np.float32))
    return part.add("Concat", part.add("Sub", center, half), part.add("Add", center, half), axis=2)


def put_labels(part: Part, indices: str, classes: Classes) -> None:
    """Class indices int64 [B, N] to ``labels``."""
    part.cast(part.add("Gather", classes.table, indices, axis=0), TensorProto.INT32, "labels")


def finished(
    part: Part, inputs: Sequence[ValueInfoProto], batch: int, detections: int, mask: Sequence[int]
) -> ModelProto:
    """A part whose outputs are the contract's, as a model.

    Args:
        part: has made them under their names.
        inputs: of the part.
        batch: pictures at once.
        detections: slots for each.
        mask: height and width of a mask in cells.
    """
    outputs: list[Named] = [
        ("boxes", TensorProto.FLOAT, [batch, detections, 4]),
        ("scores", TensorProto.FLOAT, [batch, detections]),
        ("labels", TensorProto.INT32, [batch, detections]),
        ("masks", TensorProto.FLOAT, [batch, detections, *mask]),
        ("converged", TensorProto.INT32, [batch]),
    ]
    return part.model([named(value) for value in inputs], outputs)
