"""What the results of all modes have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segopt.equality import ArrayEquality
from segopt.frame import Frame
from segopt.masks.label_runs import LabelRuns
from segopt.model.categories import Category, names_by_id

if TYPE_CHECKING:
    from segopt.inputs import Picture

_NAMED = 8
"""So many classes are named in a result's short text."""


class ResultBase(ArrayEquality, ABC):
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


def tight_boxes(runs: LabelRuns, positions: Iterable[int | None]) -> NDArray[np.float32]:
    """float32 [N, 4]: x0, y0, x1, y1, the tight boxes of some labels of a map; zeros where there is no label."""
    corners = []
    for k in positions:
        x, y, width, height = (0, 0, 0, 0) if k is None else runs.box(k)
        corners.append((x, y, x + width, y + height))
    return np.array(corners, dtype=np.float32).reshape(-1, 4)
