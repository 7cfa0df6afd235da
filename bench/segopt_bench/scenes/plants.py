"""Trees and bushes: stuff that stands in the way of things."""

from __future__ import annotations

import math

import numpy as np

from segopt_bench.scenes.actor import Actor, Brush, Path, View
from segopt_bench.scenes.camera import Points, Vector
from segopt_bench.scenes.categories import category
from segopt_bench.scenes.dice import Dice
from segopt_bench.scenes.light import Rgb, scaled

_GREENS: tuple[Rgb, ...] = (
    (70, 112, 46),
    (56, 98, 52),
    (98, 128, 50),
    (84, 120, 66),
    (62, 104, 40),
    (120, 128, 46),
)
_AUTUMN: tuple[Rgb, ...] = ((176, 112, 40), (186, 80, 40), (190, 150, 52))


class Tree(Actor):
    """A broad-leaved tree, a conifer or a bush.

    Args:
        path: where it stands.
        kind: ``broad``, ``conifer`` or ``bush``.
        height: meters.
        spread: half of the crown's width, meters.
        leaf: color.
        seed: of the crown's outline.
    """

    category_id = category("vegetation").id

    def __init__(self, path: Path, kind: str, height: float, spread: float, leaf: Rgb, seed: int) -> None:
        super().__init__(path)
        self._kind, self._height, self._spread, self._leaf = kind, height, spread, leaf
        dice = Dice(seed)
        self._blobs: Points = np.array(
            [
                (dice.uniform(0, 2 * math.pi), math.sqrt(dice.uniform(0, 1)), dice.uniform(0.24, 0.42))
                for _ in range(22)
            ]
        )

    @property
    def size(self) -> Vector:
        """Length, height and width, meters."""
        return self._spread, self._height, self._spread

    def solid(self) -> Points:
        """The crown's outline."""
        middle, tall = self._crown()
        turns = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        across = 0.85 * self._spread * np.cos(turns)
        up = np.maximum(0.0, middle + 0.85 * tall * np.sin(turns))
        return np.concatenate((np.stack([across, up, 0 * up], axis=1), np.stack([0 * up, up, across], axis=1)))

    def _crown(self) -> tuple[float, float]:
        """Height of the crown's middle and half of its own height, meters."""
        if self._kind == "bush":
            return self._height * 0.42, self._height * 0.55
        trunk = 0.3 * self._height
        return (trunk + self._height) / 2, (self._height - trunk) / 2

    def draw(self, brush: Brush, view: View) -> None:
        """Trunk, then leaves from the dark ones below to the light ones above."""
        del view
        pixels, scale = brush.pixels([(0, 0, 0), (0, self._height * 0.55, 0)])
        brush.sketch.grain = (0.17, max(1.0, 0.07 * scale))
        brush.sketch.anchor = (float(pixels[0, 0]), float(pixels[0, 1]))
        if self._kind != "bush":
            wide = 0.035 * self._height * 0.8
            brush.sketch.limb(pixels[0], pixels[1], wide * scale, wide * 0.6 * scale, brush.tone((92, 74, 58)))
        if self._kind == "conifer":
            self._layers(brush, scale, pixels[0])
            return
        middle, tall = self._crown()
        center = brush.pixels([(0.0, middle, 0.0)])[0][0]
        for share, tone in ((0.0, 0.62), (0.34, 0.86), (0.68, 1.12)):
            color = brush.tone(scaled(self._leaf, tone))
            turn, out, size = self._blobs.T
            out = out * (1 - 0.3 * share)
            shift = share * 0.3 * tall
            middles = np.empty((len(turn), 2))
            middles[:, 0] = center[0] + (np.cos(turn) * out * 0.74 * self._spread + 0.2 * shift) * scale
            middles[:, 1] = center[1] + (np.sin(turn) * out * 0.72 * tall - shift) * scale
            radii = size * (1 - 0.52 * share) * min(self._spread, tall * 1.2) * scale
            brush.sketch.discs(middles, radii, color)

    def _layers(self, brush: Brush, scale: float, foot: Points) -> None:
        count = 5
        for i in range(count):
            low = self._height * (0.12 + 0.16 * i)
            high = min(self._height, low + self._height * (0.36 - 0.02 * i))
            wide = self._spread * (1 - i / (count + 0.6))
            jag = [float(self._blobs[(i * 4 + k) % 22, 2]) - 0.33 for k in range(5)]
            edge = [
                (-wide + 2 * wide * k / 4, low + jag[k] * self._height * 0.16 * (1 if k % 2 else -1))
                for k in range(5)
            ]
            outline = np.array([(0.0, high), *edge]) * scale * (1, -1) + foot
            brush.sketch.polygon(outline, brush.tone(scaled(self._leaf, 0.66 + 0.09 * i)))


def random_tree(dice: Dice, path: Path, *, bush: bool = False) -> Tree:
    """A tree or a bush."""
    seed = dice.integer(0, 1 << 30)
    leaf = scaled(dice.pick(_AUTUMN if dice.chance(0.1) else _GREENS), dice.uniform(0.8, 1.15))
    if bush:
        height = dice.uniform(0.7, 1.7)
        return Tree(path, "bush", height, height * dice.uniform(0.55, 0.95), leaf, seed)
    if dice.chance(0.22):
        height = dice.uniform(5, 11)
        return Tree(path, "conifer", height, height * dice.uniform(0.16, 0.26), scaled(leaf, 0.8), seed)
    height = dice.uniform(4.5, 10)
    return Tree(path, "broad", height, height * dice.uniform(0.26, 0.42), leaf, seed)
