"""Synthetic street scenes: endless pictures and videos with exact ground truth.

from segopt_bench.scenes import Scene
rendered = Scene(seed=7).render(256, 448)
rendered.frame, rendered.segment_map, rendered.classes
"""

from segopt_bench.scenes.categories import (
    CATEGORIES,
    SEMANTIC_CATEGORIES,
    STUFF,
    STUFF_CLASSES,
    THINGS,
    category,
)
from segopt_bench.scenes.dataset import render_clip, write_clip, write_dataset
from segopt_bench.scenes.scene import FEWEST_PIXELS, FIRST_THING_ID, Rendered, Scene

__all__ = [
    "CATEGORIES",
    "FEWEST_PIXELS",
    "FIRST_THING_ID",
    "SEMANTIC_CATEGORIES",
    "STUFF",
    "STUFF_CLASSES",
    "THINGS",
    "Rendered",
    "Scene",
    "category",
    "render_clip",
    "write_clip",
    "write_dataset",
]
