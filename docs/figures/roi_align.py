"""Draws the figures of docs/roi-align.md: python docs/figures/roi_align.py.

Points, cells and weights are what :mod:`segopt_export.static` computes, not copies of it.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from saving import BEGIN, EDGE, INSIDE, PALE, save

from segopt_export.networks.adaptive_roi_pool import AdaptiveRoIPool
from segopt_export.static.adaptive_roi_align import AdaptiveRoIAlign
from segopt_export.static.roi_align import GridReader, SamplePoints

CANVAS = (128, 192)
SIZES = [(32, 48), (16, 24), (8, 12), (4, 6)]
"""Levels P2 to P5 of that canvas."""


def draw_packing() -> None:
    """Levels side by side on one map, and two boxes' sample points on it."""
    reader = GridReader(SIZES)
    points = SamplePoints(SIZES, CANVAS, bins=4, ratio=2, canonical_scale=56, canonical_level=4)
    boxes = torch.tensor([[[100.0, 70.0, 124.0, 100.0], [110.0, 10.0, 191.9, 112.0]]])
    found = points(boxes)
    figure, axes = plt.subplots(figsize=(8.4, 4.2))
    names = ["P2", "P3", "P4", "P5"]
    axes.add_patch(Rectangle((-0.5, -0.5), reader.width, reader.height, facecolor="0.93", edgecolor="0.5"))
    for (height, width), (top, left), name in zip(SIZES, reader.origins.tolist(), names, strict=True):
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, facecolor=PALE, edgecolor="black"))
        axes.text(left + 0.3, top + 0.3, name, verticalalignment="top", fontsize=11)
    for k, color in enumerate((INSIDE, EDGE)):
        level = int(found.level[0, k])
        top, left = reader.origins[level].tolist()
        stride = CANVAS[0] / SIZES[level][0]
        x0, y0, x1, y1 = (boxes[0, k] / stride).tolist()
        axes.add_patch(Rectangle((left + x0, top + y0), x1 - x0, y1 - y0, fill=False, edgecolor=color))
        y, x = torch.meshgrid(found.y.position[0, k] + top, found.x.position[0, k] + left, indexing="ij")
        axes.plot(x.flatten(), y.flatten(), ".", color=color, markersize=4)
    axes.set(xlim=(-1, reader.width), ylim=(reader.height + 0.2, -1.2), aspect="equal")
    axes.axis("off")
    save(figure, "roi-align-packing")


def draw_adaptive_bin() -> None:
    """One bin of a box: its samples, the cells around them, and the weight of each cell."""
    pool = AdaptiveRoIPool(["0", "1", "2", "3"], 7, finest_level=2)
    align = AdaptiveRoIAlign(pool, SIZES, CANVAS)
    box = torch.tensor([[[11.0, 20.0, 81.0, 80.0]]])
    index, weight = align._taps(box)
    level = int(align._level(box))
    (_, width), first = SIZES[level], int(align.first[level])
    row, column = 0, 2
    cells, weights = index[0, row, column] - first, weight[0, row, column]

    low = box[0, 0] / 4 - 0.5
    bin_width, bin_height = float(low[2] - low[0]) / 7, float(low[3] - low[1]) / 7
    left, top = float(low[0]) + column * bin_width, float(low[1]) + row * bin_height
    samples_x, samples_y = -int(-bin_width // 1), -int(-bin_height // 1)
    figure, (whole, axes) = plt.subplots(1, 2, figsize=(9.4, 4.4))
    _draw_bins(whole, low.tolist(), (left, top, bin_width, bin_height))
    for cell, share in zip(cells.tolist(), weights.tolist(), strict=True):
        if share > 0:
            y, x = divmod(cell, width)
            axes.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=INSIDE, alpha=min(1, 4 * share), linewidth=0)
            )
            axes.text(x, y + 0.4, f"{share:.3f}", horizontalalignment="center", fontsize=8)
            axes.plot(x, y, "o", color="black", markersize=5)
    axes.add_patch(Rectangle((left, top), bin_width, bin_height, fill=False, edgecolor=EDGE, linewidth=1.5))
    for i in range(samples_y):
        for j in range(samples_x):
            x = left + (j + 0.5) * bin_width / samples_x
            axes.plot(x, top + (i + 0.5) * bin_height / samples_y, "x", color=EDGE, markersize=8)
    axes.set(xlim=(left - 1.5, left + bin_width + 1.5), ylim=(top + bin_height + 1.5, top - 1.5), aspect="equal")
    axes.set_title(f"{samples_y} x {samples_x} samples; weights of {samples_y + 1} x {samples_x + 1} cells")
    axes.set(xticks=[], yticks=[])
    print(f"taps {len(weights)}, with weight {int((weights > 0).sum())}, sum {float(weights.sum()):.6f}")
    save(figure, "roi-align-adaptive")


def _draw_bins(axes: Axes, box: list[float], bin_: tuple[float, float, float, float]) -> None:
    x0, y0, x1, y1 = box
    for y in range(int(y0) - 1, int(y1) + 3):
        for x in range(int(x0) - 1, int(x1) + 3):
            axes.plot(x, y, ".", color="0.6", markersize=3)
    for k in range(8):
        axes.plot([x0 + k * (x1 - x0) / 7] * 2, [y0, y1], color=EDGE, linewidth=0.8)
        axes.plot([x0, x1], [y0 + k * (y1 - y0) / 7] * 2, color=EDGE, linewidth=0.8)
    left, top, width, height = bin_
    axes.add_patch(Rectangle((left, top), width, height, facecolor=BEGIN, alpha=0.4))
    axes.set(aspect="equal", xticks=[], yticks=[], title="7 x 7 bins of a box on its level")
    axes.invert_yaxis()


if __name__ == "__main__":
    draw_packing()
    draw_adaptive_bin()
