"""A scene: a pure function from seed, size and time to a picture with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segopt.frame import Frame
from segopt.results import PanopticResult
from segopt.segment import Segment
from segopt_bench.scenes.actor import Actor, View
from segopt_bench.scenes.backdrop import random_backdrop
from segopt_bench.scenes.categories import CATEGORIES, THINGS, category
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.lens import random_lens
from segopt_bench.scenes.light import random_light
from segopt_bench.scenes.plants import Tree
from segopt_bench.scenes.population import Population
from segopt_bench.scenes.shadows import Shadows
from segopt_bench.scenes.sketch import Layer
from segopt_bench.scenes.street import Surface, random_street
from segopt_bench.scenes.viewpoint import random_viewpoint

FEWEST_PIXELS = 48
"""An object of which fewer pixels can be seen is not drawn, and is not in the ground truth."""

FIRST_THING_ID = 100
"""Segment ids of things count from here; a stuff segment's id is its category's."""

_FARTHEST = 90.0


@dataclass(frozen=True)
class Rendered:
    """A picture and what is in it."""

    frame: Frame
    """uint8 [H, W, 3], BGR."""
    segment_map: NDArray[np.int32]
    """int32 [H, W]: the segment that is seen at the pixel's center. There is no void."""
    segments: tuple[Segment, ...]
    """Every segment with at least one pixel, by ascending id: stuff, then things. ``score`` is 1."""
    classes: NDArray[np.uint8]
    """uint8 [H, W]: index in the semantic map, see :data:`~segopt_bench.scenes.SEMANTIC_CATEGORIES`."""

    @property
    def things(self) -> tuple[Segment, ...]:
        """The objects among the segments."""
        return tuple(segment for segment in self.segments if segment.is_thing)

    def panoptic(self) -> PanopticResult:
        """The ground truth as a result that draws and writes itself."""
        return PanopticResult(self.segment_map, self.segments, CATEGORIES)


class Scene:
    """A street with people, vehicles and weather, composed by its seed.

    A render is a pure function of seed, size and time: the same bytes in every run. Other versions of OpenCV or
    NumPy give the same composition, and differ in a few pixels of outlines and in JPEG's rounding.

    Things keep their ids over time and over sizes. The composition does not depend on the size; a wider picture
    shows more at its sides, and a smaller one leaves out what would be below :data:`FEWEST_PIXELS`.

    Args:
        seed: of everything in it.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.light = random_light(Dice(seed, "light"))
        self.street = random_street(Dice(seed, "street"))
        self.backdrop = random_backdrop(Dice(seed, "backdrop"), self.street)
        self.viewpoint = random_viewpoint(Dice(seed, "viewpoint"), self.street)
        self.lens = random_lens(Dice(seed, "lens"))
        population = Population(self.backdrop, self.viewpoint, Dice(seed, "population"))
        population.fill()
        self.things = tuple(population.things)
        self.plants = tuple(population.plants)

    def render(self, height: int, width: int, time: float = 0.0) -> Rendered:
        """The picture at a time.

        Args:
            height: in pixels.
            width: in pixels.
            time: seconds, best within 0 to 12, for which the scene has its newcomers.
        """
        view = View(self.viewpoint.at(time, height, width), self.light, self.street, time)
        picture, surfaces = self.backdrop.render(view.camera, self.light, time)
        drawn = self._layers(view)
        owners = _owners(drawn, height, width)

        shadows = Shadows(view)
        shadows.add_houses(self.backdrop.houses)
        for _, actor, _ in drawn:
            shadows.add(actor, stands=not isinstance(actor, Tree))
        ground = (surfaces >= Surface.ROAD) & (surfaces <= Surface.WATER)
        picture *= np.where(ground, shadows.light(), np.float32(1))[..., None]
        for _, _, layer in drawn:
            part = picture[layer.window]
            part *= 1 - layer.cover
            part += layer.color
        frame = self.lens.expose(picture, seed=self.seed * 100_003 + round(time * 1000))
        return _truth(frame, surfaces, drawn, owners)

    def _layers(self, view: View) -> list[_Drawn]:
        """What can be seen of plants and things, the farthest first."""
        drawn: list[tuple[float, _Drawn]] = []
        actors = [(0, plant) for plant in self.plants]
        actors += [(FIRST_THING_ID + i, thing) for i, thing in enumerate(self.things)]
        for segment_id, actor in actors:
            sketch = actor.sketch(view) if _in_view(actor, view) else None
            layer = sketch.layer(view.camera.height, view.camera.width) if sketch is not None else None
            if sketch is not None and layer is not None:
                drawn.append((sketch.depth, (segment_id, actor, layer)))
        # A rider shares the bicycle's place and sits in front of it: the sort is stable.
        ordered = [entry for _, entry in sorted(drawn, key=lambda item: -item[0])]
        owners = _owners(ordered, view.camera.height, view.camera.width)
        pixels = np.bincount(owners.ravel(), minlength=len(ordered) + 1)
        # What is left out uncovers others, so that none of the rest falls below the limit.
        return [
            entry for i, entry in enumerate(ordered) if entry[0] < FIRST_THING_ID or pixels[i + 1] >= FEWEST_PIXELS
        ]


_Drawn = tuple[int, Actor, Layer]
"""Segment id (0 for a plant), who it is, and its pixels."""


def _in_view(actor: Actor, view: View) -> bool:
    """Whether an actor may be in the picture: a cheap test before drawing."""
    x, z = actor.path.at(view.time)
    camera = view.camera
    right, _, depth = camera.to_view(np.array([x + view.street.bend(z), 0.0, z]))
    length, _, width = actor.size
    reach = (camera.width / 2 / camera.focal + 0.05) * max(0.0, float(depth)) + 0.75 * (length + width) + 0.3
    return 0 < depth < _FARTHEST and abs(float(right)) < reach


def _owners(drawn: list[_Drawn], height: int, width: int) -> NDArray[np.int32]:
    """Who is seen at each pixel's center: position in the list plus one, 0 for the backdrop; int32 [H, W]."""
    owners = np.zeros((height, width), dtype=np.int32)
    for i, (_, _, layer) in enumerate(drawn, start=1):
        owners[layer.window][layer.mask] = i
    return owners


def _truth(frame: Frame, surfaces: NDArray[np.uint8], drawn: list[_Drawn], owners: NDArray[np.int32]) -> Rendered:
    vegetation = category("vegetation").id
    stuff_of = np.zeros(256, dtype=np.int32)
    for surface in Surface:
        stuff_of[surface] = surface.category_id
    ids = [0] + [segment_id or vegetation for segment_id, _, _ in drawn]
    segment_map = np.array(ids, dtype=np.int32)[owners]
    segment_map = np.where(owners == 0, stuff_of[surfaces], segment_map)

    category_of = np.zeros(max(ids[1:], default=0) + FIRST_THING_ID, dtype=np.int32)
    category_of[: len(CATEGORIES) + 1] = np.arange(len(CATEGORIES) + 1)
    for segment_id, actor, _ in drawn:
        if segment_id:
            category_of[segment_id] = actor.category_id
    areas = np.bincount(segment_map.ravel())
    segments = tuple(
        Segment(int(i), int(category_of[i]), int(category_of[i]) <= len(THINGS), 1.0, int(areas[i]))
        for i in np.flatnonzero(areas)
    )
    classes = (category_of[segment_map] - 1).astype(np.uint8)
    return Rendered(frame, segment_map, segments, classes)
