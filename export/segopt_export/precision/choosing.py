"""The choice of layers for INT8 where a bound is given: measured on pictures, and held to on the file itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from segopt.errors import ExportError
from segopt.model.int8_choice import Int8Choice, Int8Point
from segopt_export.onnx_file.session import cpu_session
from segopt_export.precision.loss import STRONG, points_lost
from segopt_export.precision.selection import Search, Selection, time_saved
from segopt_export.precision.switches import Switchable

_ENOUGH_TO_PART = 8
"""From so many pictures on, every fourth is held out."""
_LOOKED_AT = 8
_SEARCHED_ON = 4
"""Pictures on which sets are tried; the file itself is measured on all that are looked at."""
_LOOKED_AT_ALONE = 1
"""On which single layers are tried, to put them into an order."""
_ATTEMPTS = 4
_TIGHTER = 0.7
"""Switches round as the file does, but kernels sum in their own way, and the file is measured on more pictures.
Where it loses too much, the search goes on with this share of what the set has lost in it: the same set would come
again under a bound that it keeps."""

Images = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Made:
    """A quantized graph."""

    model: onnx.ModelProto
    shortcuts: int
    """How many shortcuts of residual blocks are in INT8."""


@dataclass(frozen=True)
class WithinLoss:
    """What was chosen."""

    made: Made
    left_out: Mapping[str, str]
    """Layers that stay in floating point, and why."""
    choice: Int8Choice


def parted(images: Images) -> tuple[Images, Images]:
    """Pictures for scales, and those for measuring what is lost: others, where there are enough of them."""
    if len(images) < _ENOUGH_TO_PART:
        return images, images
    held_out = images[3::4]
    return [image for i, image in enumerate(images) if i % 4 != 3], held_out[:_LOOKED_AT]


class Comparison:
    """A graph and its layers in INT8, on pictures.

    Args:
        plain: the graph before it was quantized.
        quantized: the same with all candidates in INT8.
        candidates: layer to the name of its weights; layers that share them (a head on several levels) go
            together.
        images: uint8 BGR [B, H, W, 3], of which the first few are looked at.
        inputs_alone: operators whose outputs are not rounded.
        mask_level: what a cell of a detection's mask is above where it is of the object.
    """

    def __init__(
        self,
        plain: onnx.ModelProto,
        quantized: onnx.ModelProto,
        candidates: Mapping[str, str],
        images: Images,
        *,
        inputs_alone: Collection[str] = (),
        mask_level: float = 0.5,
    ) -> None:
        groups: dict[str, list[str]] = {}
        for layer, weight in candidates.items():
            groups.setdefault(weight, []).append(layer)
        self.groups: Mapping[str, Sequence[str]] = groups
        self.saved = time_saved(plain, groups)
        self.images = images[:_LOOKED_AT]
        self._mask_level = mask_level
        self._switchable = Switchable(plain, quantized, groups, inputs_alone)
        self._expected = [self._switchable(image, ()) for image in self.images]

    def says_something(self) -> bool:
        """Whether there is anything to compare."""
        return bool(points_lost(self._expected, self._expected, mask_level=self._mask_level))

    def lost(self, on: Collection[str]) -> float:
        """Points that the answer loses where these groups are in INT8: of the part that loses most."""
        return self._worst([self._switchable(image, on) for image in self.images[:_SEARCHED_ON]])

    def lost_alone(self, on: Collection[str]) -> float:
        """What is lost of how good the answer is, on fewer pictures."""
        found = [self._switchable(image, on) for image in self.images[:_LOOKED_AT_ALONE]]
        return self._worst(found, finely=True)

    def lost_by(self, model: onnx.ModelProto) -> float:
        """The same of a file as ONNX Runtime runs it."""
        session = cpu_session(model)
        names = [output.name for output in session.get_outputs()]
        image = session.get_inputs()[0].name
        return self._worst(
            [dict(zip(names, session.run(names, {image: each}), strict=True)) for each in self.images]
        )

    def _worst(self, found: Sequence[Mapping[str, NDArray[np.generic]]], *, finely: bool = False) -> float:
        expected = self._expected[: len(found)]
        lost = points_lost(expected, found, mask_level=self._mask_level, finely=finely)
        return max(lost.values(), default=0.0)


def choose(comparison: Comparison, bound: float, make: Callable[[Mapping[str, str]], Made]) -> WithinLoss:
    """The layers that save most time within the bound, and the file that has them.

    Args:
        comparison: of the graph with itself in INT8.
        bound: points that may be lost.
        make: the quantized graph without these layers.

    Raises:
        ExportError: the pictures show nothing, or the bound cannot be met.
    """
    if not comparison.says_something():
        raise ExportError(
            f"--int8-loss {bound:g}: on these pictures the network finds nothing that scores {STRONG:g} or more, "
            "which measures no loss; give --calibration pictures on which it finds something, or leave the option "
            "out"
        )
    search = Search(comparison.saved, comparison.lost, comparison.lost_alone)
    lost, limit = 0.0, bound
    chosen: frozenset[str] = frozenset()
    for _ in range(_ATTEMPTS):
        selection = search.within(limit)
        if selection.chosen in (frozenset(), chosen):
            break
        chosen, limit = selection.chosen, _TIGHTER * min(limit, selection.lost)
        left_out = _left_out(comparison.groups, selection)
        made = make(left_out)
        lost = comparison.lost_by(made.model)
        if lost <= bound:
            return WithinLoss(made, left_out, _recorded(comparison, selection, bound, lost))
    least = f"the file with fewest loses {lost:.2g}" if lost else f"the best single one loses {search.least():.2g}"
    raise ExportError(
        f"--int8-loss {bound:g}: no layers of this network stay within it ({least} points); give more, or export "
        "with --precision fp16"
    )


def _left_out(groups: Mapping[str, Sequence[str]], selection: Selection) -> dict[str, str]:
    return {
        layer: f"loses {selection.alone[name]:.2g} points alone, for {selection.saved_by[name]:.1%} of the gain"
        for name, layers in groups.items()
        if name not in selection.chosen
        for layer in layers
    }


def _recorded(comparison: Comparison, selection: Selection, bound: float, lost: float) -> Int8Choice:
    sizes = {name: len(layers) for name, layers in comparison.groups.items()}
    return Int8Choice(
        bound=bound,
        lost=round(lost, 3),
        pictures=sum(len(image) for image in comparison.images),
        layers=sum(sizes[name] for name in selection.chosen),
        candidates=sum(sizes.values()),
        saved=round(selection.saved, 4),
        trade_off=tuple(
            Int8Point(sum(sizes[name] for name in point.layers), round(point.saved, 4), round(point.lost, 3))
            for point in selection.trade_off
        ),
    )
