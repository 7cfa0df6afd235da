"""Which layers become INT8 where what is lost in the end is bounded: the set that saves most time.

First all layers are tried. Where that loses too much, each is tried alone; from then on the sets are those of the
layers that lose least for the time that they save. Bisection finds the largest one within the bound, and what was
left out is tried once more, one by one, the largest gain first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from segopt_export.onnx_file.cost import LayerCost, layer_costs

_BALANCE = 16.0
"""Operations in single precision that a processor does while it moves a byte, about: 2 cores do 0.3 to 0.5 Tflop/s
and move 20 to 30 GB/s."""
_FASTER = 3.0
"""How many times as many operations it does in INT8, about. It moves four times as many numbers."""
_TRIED_AGAIN = 8
_SHOWN = 6
"""Points of the trade-off that are kept."""

Loss = Callable[[Collection[str]], float]
"""What is lost, in points, where these layers are in INT8."""


@dataclass(frozen=True)
class Point:
    """One set of layers that was tried."""

    layers: frozenset[str]
    saved: float
    """Share of the time that all of them together would save."""
    lost: float
    """Points."""


@dataclass(frozen=True)
class Selection:
    """The set that was chosen."""

    chosen: frozenset[str]
    saved: float
    """Share of the time that all layers together would save."""
    lost: float
    """Points, as they were measured."""
    saved_by: Mapping[str, float]
    """The same of each layer."""
    alone: Mapping[str, float] = field(default_factory=dict)
    """Points that a layer loses alone; empty where all could be taken."""
    trade_off: tuple[Point, ...] = ()
    """Sets of which none loses less and saves more than another, the smallest first."""


def time_saved(model: onnx.ModelProto, groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """What groups of layers gain by INT8, by a model of cost: the slower of operations and memory traffic.

    Args:
        model: in floating point, with fixed shapes.
        groups: by name, the layers that are chosen together.

    Returns:
        By name, the time saved as a share of what all of them save.
    """
    costs = {cost.name: cost for cost in layer_costs(model)}
    saved = {name: sum(_saved(costs[layer]) for layer in layers) for name, layers in groups.items()}
    whole = sum(saved.values())
    return {name: each / whole for name, each in saved.items()}


def _saved(cost: LayerCost) -> float:
    single = max(cost.operations / _BALANCE, cost.bytes_moved)
    return single - max(cost.operations / _BALANCE / _FASTER, cost.bytes_moved / 4)


class Search:
    """Finds sets of layers, and remembers what it measured.

    Args:
        saved: by layer, the share of time that INT8 saves.
        loss: measures a set.
        alone: measures a set of one layer, where that may be done more quickly; None is ``loss``.
    """

    def __init__(self, saved: Mapping[str, float], loss: Loss, alone: Loss | None = None) -> None:
        self._saved = saved
        self._loss = loss
        self._loss_alone = alone or loss
        self._tried: dict[frozenset[str], float] = {frozenset(): 0.0}
        self._alone: dict[str, float] = {}

    def within(self, bound: float) -> Selection:
        """The layers that save most time and lose at most ``bound`` points together."""
        everything = frozenset(self._saved)
        if self._lost(everything) <= bound:
            return self._selection(everything)
        self._alone = self._alone or {layer: self._loss_alone({layer}) for layer in self._saved}
        # Where several lose nothing that can be seen, those come first that gain most.
        order = sorted(
            self._saved, key=lambda layer: (self._alone[layer] / self._saved[layer], -self._saved[layer])
        )
        low, high = 0, len(order)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._lost(frozenset(order[:middle])) <= bound else (low, middle)
        chosen = frozenset(order[:low])
        for layer in sorted(order[low + 1 :], key=lambda layer: -self._saved[layer])[:_TRIED_AGAIN]:
            if self._lost(chosen | {layer}) <= bound:
                chosen |= {layer}
        return self._selection(chosen)

    def least(self) -> float:
        """What the layer that loses least loses alone, in points."""
        return min(self._alone.values())

    def _lost(self, layers: frozenset[str]) -> float:
        if layers not in self._tried:
            self._tried[layers] = self._loss(layers)
        return self._tried[layers]

    def _selection(self, chosen: frozenset[str]) -> Selection:
        lost, trade_off = self._tried[chosen], self._trade_off(chosen)
        return Selection(chosen, self._share(chosen), lost, self._saved, self._alone, trade_off)

    def _share(self, layers: frozenset[str]) -> float:
        return sum(self._saved[layer] for layer in layers)

    def _trade_off(self, chosen: frozenset[str]) -> tuple[Point, ...]:
        points = [Point(each, self._share(each), lost) for each, lost in self._tried.items() if each]
        best = [
            point
            for point in points
            if not any(other.saved > point.saved and other.lost <= point.lost for other in points)
        ]
        best.sort(key=lambda point: point.saved)
        own = next((i for i, point in enumerate(best) if point.saved >= self._share(chosen)), 0)
        first = max(0, min(own - _SHOWN // 2, len(best) - _SHOWN))
        return tuple(best[first : first + _SHOWN])
