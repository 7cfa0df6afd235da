"""What a segmenter returns: small frozen dataclasses of numpy arrays at the frame's own resolution.

Each result draws itself onto a frame and gives its COCO form. Category names, thing or stuff, and colors come
from the model's card, which every result carries as ``categories``.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from segopt.coco.forms import instance_results, panoptic_annotation, semantic_results, thing_results
from segopt.draw.overlay import check_frame, draw_instances, draw_panoptic, draw_semantic
from segopt.equality import ArrayEquality
from segopt.frame import Frame
from segopt.inputs import as_frame
from segopt.masks.crop import BoolImage, MaskCrop
from segopt.masks.label_runs import LabelRuns
from segopt.model.categories import Category, name_of, names_by_id
from segopt.segment import Segment

if TYPE_CHECKING:
    from segopt.inputs import Picture

_NAMED = 8
"""So many classes are named in a result's short text."""


class _Result(ArrayEquality, ABC):
    """What all results have. Two are equal where all their arrays, categories and flags are; none has a hash."""

    categories: tuple[Category, ...]

    if TYPE_CHECKING:
        # A property here at run time would be the default of a dataclass's field of the same name.
        @property
        def size(self) -> tuple[int, int]:
            """Height and width of the frame."""

        @property
        def converged(self) -> bool:
            """Whether the graph's suppression had enough steps for this frame."""

    @property
    def names(self) -> dict[int, str]:
        """Category id to class name, of all classes that the model knows."""
        return names_by_id(self.categories)

    @abstractmethod
    def draw(self, frame: Picture, *, opacity: float = 0.5) -> Frame:
        """The frame with the result in color; a new array, uint8 BGR [H, W, 3]."""

    def save(self, path: str | os.PathLike[str], frame: Picture, *, opacity: float = 0.5) -> None:
        """Draw onto a frame and write the picture.

        Args:
            path: ``.jpg`` (quality 95), ``.png``, ``.webp``, ``.bmp`` or ``.tif``; its folder is made.
            frame: what the result was made from: uint8 BGR [H, W, 3], a PIL image, or the picture's path.
            opacity: of the colors, 0 to 1.

        Raises:
            ValueError: the frame is no picture of the result's size.
            SinkError: the picture cannot be written; nothing is left of it.
        """
        from segopt.files.atomic import make_folder, write_image

        drawn = self.draw(frame, opacity=opacity)
        path = Path(path)
        make_folder(path.parent)
        write_image(path, drawn)

    @abstractmethod
    def to_supervision(self) -> Any:
        """A ``supervision.Detections``: ``xyxy``, ``mask``, ``confidence``, ``class_id``, ``data["class_name"]``.

        Raises:
            SegoptError: supervision is not installed.
        """

    @abstractmethod
    def _found(self) -> Iterable[str]:
        """Names of what was found, each as often as it was."""

    def __repr__(self) -> str:
        counts = Counter(self._found())
        found = [name if count == 1 else f"{name} x{count}" for name, count in counts.items()]
        more = [f"{len(found) - _NAMED} classes more"] if len(found) > _NAMED else []
        words = ", ".join([*found[:_NAMED], *more]) or "nothing"
        doubt = "" if self.converged else "; not converged"
        height, width = self.size
        return f"{type(self).__name__}({height}x{width}: {words}{doubt})"


@dataclass(frozen=True, eq=False, repr=False)
class SemanticResult(_Result):
    """A class for each pixel."""

    classes: NDArray[np.uint8]
    """uint8 [H, W]: index of the class."""
    categories: tuple[Category, ...]
    converged: ClassVar[bool] = True
    """As that of the other results; a label map needs no suppression."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame."""
        height, width = self.classes.shape
        return height, width

    def draw(self, frame: Picture, *, opacity: float = 0.5) -> Frame:
        """The frame with classes in color and a legend; a new array, uint8 BGR [H, W, 3]."""
        return draw_semantic(as_frame(frame), self.classes, self.categories, opacity=opacity)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results (stuff task): one entry with an RLE for each class that is present."""
        return semantic_results(self._runs, self.categories, image_id)

    def to_supervision(self) -> Any:
        """A ``supervision.Detections`` with one entry for each class that is present, ascending by id.

        ``xyxy`` is the tight box of all its pixels, right and bottom excluded; there is no ``confidence``.
        Background is a class like any other; an index without a category gives no entry.

        Raises:
            SegoptError: supervision is not installed.
        """
        from segopt.supervision_forms import detections

        names, runs = self.names, self._runs
        present = [k for k, label in enumerate(runs.labels) if int(label) in names]
        labels = runs.labels[present]
        masks = self.classes == labels[:, None, None]
        return detections(_boxes(runs, present), masks, None, labels, [names[int(label)] for label in labels])

    def _found(self) -> Iterable[str]:
        names = self.names
        return [name_of(int(label), names) for label in np.flatnonzero(np.bincount(self.classes.ravel()))]

    @functools.cached_property
    def _runs(self) -> LabelRuns:
        return LabelRuns.of(self.classes)


@dataclass(frozen=True, eq=False, repr=False)
class Instance(ArrayEquality):
    """One detected object."""

    box: NDArray[np.float32]
    """float32 [4]: x0, y0, x1, y1 in frame pixels, inside the frame."""
    score: float
    """0 to 1."""
    label: int
    """Category id."""
    name: str
    """Of the category."""
    crop: MaskCrop
    """Its mask as a crop of the frame."""
    size: tuple[int, int]
    """Height and width of the frame."""

    @property
    def mask(self) -> BoolImage:
        """Its mask, bool [H, W]; made anew each time."""
        return self.crop.on_canvas(*self.size)

    def __repr__(self) -> str:
        box = ", ".join(f"{float(side):.0f}" for side in self.box)
        return f"Instance({self.name} {self.score:.2f}, box {box})"


@dataclass(frozen=True, eq=False, repr=False)
class InstanceResult(_Result):
    """Detected objects, by descending score.

    ``len()`` counts them; iteration gives an :class:`Instance` each, and ``result[i]`` the i-th.
    """

    boxes: NDArray[np.float32]
    """float32 [N, 4]: x0, y0, x1, y1 in frame pixels, inside the frame."""
    scores: NDArray[np.float32]
    """float32 [N], 0 to 1, descending."""
    labels: NDArray[np.int32]
    """int32 [N]: category ids, the model's own."""
    crops: tuple[MaskCrop, ...]
    """N masks, each as a crop of the frame."""
    size: tuple[int, int]
    """Height and width of the frame."""
    categories: tuple[Category, ...]
    converged: bool = True
    """False where the graph's suppression had too few steps for this frame, so that a box may be wrong."""

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Instance]:
        names = self.names
        return (self._instance(i, names) for i in range(len(self)))

    def __getitem__(self, i: SupportsIndex) -> Instance:
        """Object ``i``, 0 to N - 1, or from the end -N to -1.

        Raises:
            IndexError: there is no such object.
        """
        index = operator.index(i)
        if not -len(self) <= index < len(self):
            raise IndexError(f"object {index} of {len(self)}")
        return self._instance(index % len(self), self.names)

    @property
    def masks(self) -> BoolImage:
        """All masks as planes of the frame's size, bool [N, H, W]; made anew each time, N x H x W bytes."""
        masks = np.zeros((len(self), *self.size), dtype=np.bool_)
        for plane, crop in zip(masks, self.crops, strict=True):
            plane[crop.window] = crop.mask
        return masks

    def mask(self, i: int) -> BoolImage:
        """Mask of object ``i``, bool [H, W]."""
        return self.crops[i].on_canvas(*self.size)

    def draw(self, frame: Picture, *, opacity: float = 0.5) -> Frame:
        """The frame with masks, boxes, names and scores; a new array, uint8 BGR [H, W, 3]."""
        frame = as_frame(frame)
        check_frame(frame, self.size)
        return draw_instances(
            frame, self.boxes, self.scores, self.labels, self.crops, self.categories, opacity=opacity
        )

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: one entry for each object, with ``bbox`` and RLE ``segmentation``."""
        return instance_results(self.boxes, self.scores, self.labels, self.crops, self.size, image_id)

    def to_supervision(self) -> Any:
        """A ``supervision.Detections`` with one entry for each object, in their order.

        Raises:
            SegoptError: supervision is not installed.
        """
        from segopt.supervision_forms import detections

        return detections(self.boxes, self.masks, self.scores, self.labels, list(self._found()))

    def _instance(self, i: int, names: dict[int, str]) -> Instance:
        label = int(self.labels[i])
        name = name_of(label, names)
        return Instance(self.boxes[i], float(self.scores[i]), label, name, self.crops[i], self.size)

    def _found(self) -> Iterable[str]:
        names = self.names
        return [name_of(int(label), names) for label in self.labels]


@dataclass(frozen=True, eq=False, repr=False)
class PanopticResult(_Result):
    """A segment for each pixel: objects (things) and regions (stuff).

    ``len()`` counts the segments and iteration gives them, in the order of ``segments``; ``result[segment_id]`` is
    the one that the map's pixels of this value belong to.
    """

    segment_map: NDArray[np.int32]
    """int32 [H, W]: id of the pixel's segment, 0 where there is none (void)."""
    segments: tuple[Segment, ...]
    """In the order of their ids: things by descending score, then stuff. Each has its category's name."""
    categories: tuple[Category, ...]
    converged: bool = True
    """False where the graph's suppression had too few steps for this frame, so that an object may be wrong."""

    def __post_init__(self) -> None:
        names = self.names
        segments = (dataclasses.replace(s, name=name_of(s.category_id, names)) for s in self.segments)
        object.__setattr__(self, "segments", tuple(segments))

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def __getitem__(self, segment_id: SupportsIndex) -> Segment:
        """The segment with this id, which is its value in ``segment_map``.

        Raises:
            KeyError: there is none; 0 is void.
        """
        wanted = operator.index(segment_id)
        for segment in self.segments:
            if segment.id == wanted:
                return segment
        raise KeyError(f"no segment {wanted}" + (", which is void" if wanted == 0 else ""))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame."""
        height, width = self.segment_map.shape
        return height, width

    @property
    def boxes(self) -> NDArray[np.float32]:
        """float32 [N, 4]: x0, y0, x1, y1 in frame pixels, the tight box of each of ``segments``, in their order.

        Right and bottom are excluded: x1 - x0 is the width. A segment that owns no pixel has four zeros.
        """
        position = {int(label): k for k, label in enumerate(self._runs.labels)}
        return _boxes(self._runs, [position.get(segment.id) for segment in self.segments])

    def mask(self, segment_id: int) -> BoolImage:
        """Mask of one segment, bool [H, W]."""
        return np.equal(self.segment_map, segment_id)

    def draw(self, frame: Picture, *, opacity: float = 0.5) -> Frame:
        """The frame with segments in color, outlined and named; a new array, uint8 BGR [H, W, 3]."""
        return draw_panoptic(as_frame(frame), self.segment_map, self.segments, self.categories, opacity=opacity)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: one entry for each thing, with ``bbox`` and RLE ``segmentation``."""
        return thing_results(self._runs, self.segments, image_id)

    def to_coco_panoptic(self, image_id: int, file_name: str) -> tuple[Frame, dict[str, Any]]:
        """COCO panoptic form: the PNG (uint8 BGR [H, W, 3], id = R + 256 G + 65536 B) and its annotation."""
        return panoptic_annotation(self.segment_map, self._runs, self.segments, image_id, file_name)

    def to_supervision(self) -> Any:
        """A ``supervision.Detections`` with one entry for each segment, things and stuff, in their order.

        ``xyxy`` is :attr:`boxes`; the ``confidence`` of stuff is 1.

        Raises:
            SegoptError: supervision is not installed.
        """
        from segopt.supervision_forms import detections

        ids = np.array([segment.id for segment in self.segments], dtype=np.int32)
        labels = np.array([segment.category_id for segment in self.segments], dtype=np.int32)
        scores = np.array([segment.score for segment in self.segments], dtype=np.float32)
        masks = self.segment_map == ids[:, None, None]
        return detections(self.boxes, masks, scores, labels, list(self._found()))

    def _found(self) -> Iterable[str]:
        return [segment.name for segment in self.segments]

    @functools.cached_property
    def _runs(self) -> LabelRuns:
        return LabelRuns.of(self.segment_map)


def _boxes(runs: LabelRuns, positions: Iterable[int | None]) -> NDArray[np.float32]:
    """float32 [N, 4]: x0, y0, x1, y1, the tight boxes of some labels of a map; zeros where there is no label."""
    corners = []
    for k in positions:
        x, y, width, height = (0, 0, 0, 0) if k is None else runs.box(k)
        corners.append((x, y, x + width, y + height))
    return np.array(corners, dtype=np.float32).reshape(-1, 4)


Result = SemanticResult | InstanceResult | PanopticResult
"""What a segmenter returns, by its view."""
