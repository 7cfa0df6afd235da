"""What a segmenter returns: small frozen dataclasses of numpy arrays at the frame's own resolution.

Each result draws itself onto a frame and gives its COCO form. Category names, thing or stuff, and colors come
from the model's card, which every result carries as ``categories``.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from segopt.merge import Merged
from segopt.model.categories import Category, name_of, names_by_id
from segopt.query_merge import MergedQueries
from segopt.results_base import ResultBase, tight_boxes
from segopt.segment import Segment

if TYPE_CHECKING:
    from segopt.inputs import Picture


@dataclass(frozen=True, eq=False, repr=False)
class SemanticResult(ResultBase):
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
        return semantic_results(self.runs, self.categories, image_id)

    def to_supervision(self) -> Any:
        """A ``supervision.Detections`` with one entry for each class that is present, ascending by id.

        ``xyxy`` is the tight box of all its pixels, right and bottom excluded; there is no ``confidence``.
        Background is a class like any other; an index without a category gives no entry.

        Raises:
            SegoptError: supervision is not installed.
        """
        from segopt.supervision_forms import detections

        names, runs = self.names, self.runs
        present = [k for k, label in enumerate(runs.labels) if int(label) in names]
        labels = runs.labels[present]
        masks = self.classes == labels[:, None, None]
        return detections(tight_boxes(runs, present), masks, None, labels, [names[int(label)] for label in labels])

    def _found(self) -> Iterable[str]:
        names = self.names
        return [name_of(int(label), names) for label in np.flatnonzero(np.bincount(self.classes.ravel()))]

    @functools.cached_property
    def runs(self) -> LabelRuns:
        """The map as runs of equal pixels, from which boxes, areas and RLE of all its labels come."""
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
    track: int | None = None
    """Number of the object in the whole video; None where nothing tracks."""

    @property
    def mask(self) -> BoolImage:
        """Its mask, bool [H, W]; made anew each time."""
        return self.crop.on_canvas(*self.size)

    def __repr__(self) -> str:
        box = ", ".join(f"{float(side):.0f}" for side in self.box)
        return f"Instance({self.name} {self.score:.2f}, box {box})"


@dataclass(frozen=True, eq=False, repr=False)
class InstanceResult(ResultBase):
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
    tracks: NDArray[np.int32] | None = None
    """int32 [N]: number of each object in the whole video, see :class:`segopt.Tracker`; None before that."""
    ages: NDArray[np.float32] | None = None
    """float32 [N]: seconds since each object was first seen; None as ``tracks``."""
    shades: NDArray[np.int32] | None = None
    """int32 [N]: which shade of its class's color is the object's own for life; None as ``tracks``."""

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
            frame,
            self.boxes,
            self.scores,
            self.labels,
            self.crops,
            self.categories,
            opacity=opacity,
            tracks=self.tracks,
            shades=self.shades,
        )

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: one entry for each object, with ``bbox`` and RLE ``segmentation``.

        A tracked one has its number as ``track_id``.
        """
        entries = instance_results(self.boxes, self.scores, self.labels, self.crops, self.size, image_id)
        if self.tracks is not None:
            for entry, track in zip(entries, self.tracks, strict=True):
                entry["track_id"] = int(track)
        return entries

    def to_supervision(self) -> Any:
        """A ``supervision.Detections`` with one entry for each object, in their order.

        ``tracker_id`` are the tracks, where there are.

        Raises:
            SegoptError: supervision is not installed.
        """
        from segopt.supervision_forms import detections

        return detections(self.boxes, self.masks, self.scores, self.labels, list(self._found()), self.tracks)

    def _instance(self, i: int, names: dict[int, str]) -> Instance:
        label = int(self.labels[i])
        name = name_of(label, names)
        track = None if self.tracks is None else int(self.tracks[i])
        return Instance(self.boxes[i], float(self.scores[i]), label, name, self.crops[i], self.size, track)

    def _found(self) -> Iterable[str]:
        names = self.names
        return [name_of(int(label), names) for label in self.labels]


@dataclass(frozen=True, eq=False, repr=False)
class PanopticResult(ResultBase):
    """A segment for each pixel: objects (things) and regions (stuff).

    ``len()`` counts the segments and iteration gives them, in the order of ``segments``; ``result[segment_id]`` is
    the one that the map's pixels of this value belong to.
    """

    segment_map: NDArray[np.int32]
    """int32 [H, W]: id of the pixel's segment, 0 where there is none (void)."""
    segments: tuple[Segment, ...]
    """Things by descending score, then stuff; where nothing tracks, in the order of their ids. Each has its
    category's name."""
    categories: tuple[Category, ...]
    converged: bool = True
    """False where the graph's suppression had too few steps for this frame, so that an object may be wrong."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", _named(self.segments, self.names))

    @classmethod
    def of_merged(
        cls, merged: Merged | MergedQueries, categories: tuple[Category, ...], converged: bool
    ) -> PanopticResult:
        """A merge as a result. Its map is made when it is first asked for, so that a tracker comes before it."""
        result = object.__new__(cls)
        if not all(segment.name for segment in merged.segments):
            merged = dataclasses.replace(merged, segments=_named(merged.segments, names_by_id(categories)))
        vars(result).update(merged=merged, segments=merged.segments, categories=categories, converged=converged)
        return result

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            merged = self._merged
            if name != "segment_map" or merged is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return vars(self).setdefault(name, merged.segment_map())

    def with_ids(self, segments: Sequence[Segment]) -> PanopticResult:
        """The same regions as other segments: ``segments[i]`` in place of ``self.segments[i]``."""
        merged = self._merged
        if merged is not None:
            return PanopticResult.of_merged(
                dataclasses.replace(merged, segments=tuple(segments)), self.categories, self.converged
            )
        if not self.segments:
            return self
        before = np.array([segment.id for segment in self.segments])
        # The first of equal ids stands, and ids without a segment are void.
        ids, first = np.unique(before, return_index=True)
        place = np.searchsorted(ids, self.segment_map).clip(max=len(ids) - 1)
        found = np.array([segment.id for segment in segments], dtype=np.int32)[first][place]
        segment_map = np.where(ids[place] == self.segment_map, found, np.int32(0))
        return PanopticResult(segment_map, tuple(segments), self.categories, self.converged)

    def thing_boxes(self) -> NDArray[np.float32]:
        """float32 [T, 4]: x0, y0, x1, y1 in pixels, the tight box of what is seen of each thing."""
        merged = self._merged
        if merged is not None:
            return merged.thing_boxes()
        is_thing = np.array([segment.is_thing for segment in self.segments], dtype=np.bool_)
        return self.boxes[is_thing]

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
        merged = self._merged
        if merged is not None:
            return merged.size
        height, width = self.segment_map.shape
        return height, width

    @property
    def boxes(self) -> NDArray[np.float32]:
        """float32 [N, 4]: x0, y0, x1, y1 in frame pixels, the tight box of each of ``segments``, in their order.

        Right and bottom are excluded: x1 - x0 is the width. A segment that owns no pixel has four zeros.
        """
        position = {int(label): k for k, label in enumerate(self.runs.labels)}
        return tight_boxes(self.runs, [position.get(segment.id) for segment in self.segments])

    def mask(self, segment_id: int) -> BoolImage:
        """Mask of one segment, bool [H, W]."""
        return np.equal(self.segment_map, segment_id)

    def draw(self, frame: Picture, *, opacity: float = 0.5) -> Frame:
        """The frame with segments in color, outlined and named; a new array, uint8 BGR [H, W, 3]."""
        frame = as_frame(frame)
        check_frame(frame, self.size)
        merged = self._merged
        # Codes are drawn in a byte a pixel; a map that was handed out may be another one by now.
        drawn_from_codes = merged is not None and (self._tracked or "segment_map" not in vars(self))
        index = merged.index() if merged is not None and drawn_from_codes else None
        return draw_panoptic(
            frame,
            self.segment_map if index is None else None,
            self.segments,
            self.categories,
            opacity=opacity,
            index=index,
        )

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: one entry for each thing, with ``bbox`` and RLE ``segmentation``.

        A tracked one has its number as ``track_id``.
        """
        return thing_results(self.runs, self.segments, image_id)

    def to_coco_panoptic(self, image_id: int, file_name: str) -> tuple[Frame, dict[str, Any]]:
        """COCO panoptic form: the PNG (uint8 BGR [H, W, 3], id = R + 256 G + 65536 B) and its annotation."""
        return panoptic_annotation(self.segment_map, self.runs, self.segments, image_id, file_name)

    def to_supervision(self) -> Any:
        """A ``supervision.Detections`` with one entry for each segment, things and stuff, in their order.

        ``xyxy`` is :attr:`boxes`; the ``confidence`` of stuff is 1. ``tracker_id`` are the segments' ids, where
        things are tracked.

        Raises:
            SegoptError: supervision is not installed.
        """
        from segopt.supervision_forms import detections

        ids = np.array([segment.id for segment in self.segments], dtype=np.int32)
        labels = np.array([segment.category_id for segment in self.segments], dtype=np.int32)
        scores = np.array([segment.score for segment in self.segments], dtype=np.float32)
        masks = self.segment_map == ids[:, None, None]
        return detections(self.boxes, masks, scores, labels, list(self._found()), ids if self._tracked else None)

    @property
    def _merged(self) -> Merged | MergedQueries | None:
        """The merge whose map was not made at once; None where the map was given."""
        return vars(self).get("merged")

    @property
    def _tracked(self) -> bool:
        return any(segment.track is not None for segment in self.segments)

    def _found(self) -> Iterable[str]:
        return [segment.name for segment in self.segments]

    @functools.cached_property
    def runs(self) -> LabelRuns:
        """The map as runs of equal pixels, from which boxes, areas and RLE of all its labels come."""
        merged = self._merged
        index = None if merged is None or not self._tracked else merged.index()
        if index is None:
            return LabelRuns.of(self.segment_map)
        # Of bytes they are found in a third of the time, and numbers of tracks do not fit into bytes.
        return LabelRuns.of(index).renamed(np.array([0, *(segment.id for segment in self.segments)]))


def _named(segments: Iterable[Segment], names: dict[int, str]) -> tuple[Segment, ...]:
    return tuple(dataclasses.replace(s, name=name_of(s.category_id, names)) for s in segments)


Result = SemanticResult | InstanceResult | PanopticResult
"""What a segmenter returns, by its view."""
