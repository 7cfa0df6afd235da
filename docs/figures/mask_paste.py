"""Draws the figures of docs/mask-paste.md: python docs/figures/mask_paste.py.

Runs, turns and table are what :mod:`segopt.masks` computes, not copies of it.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from saving import BEGIN, EDGE, END, INSIDE, PALE, save

from segopt.masks.bitmask import fill_runs
from segopt.masks.marching_squares import _STEPS, outlines
from segopt.masks.placement import Axis

MASK = np.array(
    [[0.1, 0.7, 0.9, 0.2], [0.6, 0.9, 0.3, 0.8], [0.8, 0.95, 0.9, 0.7], [0.1, 0.6, 0.4, 0.1]], np.float32
)
FIRST, STEP, SIDE = 3.6, 4.0, 20


def _interpolated(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mask at pixels [Y] and [X]: [Y, X]."""
    cells = np.pad(MASK.astype(np.float64), 1)

    def along(pixel: NDArray[np.float64]) -> NDArray[np.float64]:
        distance = (pixel[:, None] - FIRST) / STEP + 1 - np.arange(len(cells))
        return np.clip(1 - np.abs(distance), 0, None)

    return along(y) @ cells @ along(x).T


def draw_outline() -> None:
    """One mask on pixels: cells, mixed squares, outline, and where runs begin and end."""
    figure, axes = plt.subplots(figsize=(6.4, 6.4))
    interval = Axis(np.array([0]), np.array([SIDE]), np.array([FIRST]), np.array([STEP]))
    edges = outlines(MASK[None], interval, interval, 0.5)
    pixel = np.arange(SIDE, dtype=np.float64)
    inside = _interpolated(pixel, pixel) >= 0.5

    cells = np.pad(MASK, 1)
    for i, j in np.ndindex(5, 5):
        square = cells[i : i + 2, j : j + 2] >= 0.5
        if square.any() and not square.all():
            corner = FIRST + STEP * (j - 1), FIRST + STEP * (i - 1)
            axes.add_patch(Rectangle(corner, STEP, STEP, facecolor=PALE, edgecolor="none", zorder=0))
    for y, x in np.argwhere(inside):
        axes.add_patch(Rectangle((x - 0.42, y - 0.42), 0.84, 0.84, color=INSIDE, alpha=0.45, linewidth=0))
    for y, x in np.argwhere(~inside):
        axes.add_patch(Rectangle((x - 0.42, y - 0.42), 0.84, 0.84, fill=False, edgecolor="0.85", linewidth=0.6))
    fine = np.linspace(-0.5, SIDE - 0.5, 600)
    axes.contour(fine, fine, _interpolated(fine, fine), levels=[0.5], colors=EDGE, linewidths=1.4)
    for column, row in zip(edges.column[: edges.begins], edges.row[: edges.begins], strict=True):
        axes.plot([column - 0.5] * 2, [row - 0.45, row + 0.45], color=BEGIN, linewidth=3)
    for column, row in zip(edges.column[edges.begins :], edges.row[edges.begins :], strict=True):
        axes.plot([column - 0.5] * 2, [row - 0.45, row + 0.45], color=END, linewidth=3)
    for i, j in np.ndindex(6, 6):
        at = FIRST + STEP * (j - 1), FIRST + STEP * (i - 1)
        above = cells[i, j] >= 0.5
        axes.plot(*at, "o", color="black", markersize=7, fillstyle="full" if above else "none")
        axes.annotate(f"{cells[i, j]:g}", at, (5, 5), textcoords="offset points", fontsize=8)
    limits = (FIRST - STEP - 0.9, FIRST + 4 * STEP + 1.2)
    axes.set(xlim=limits, ylim=limits[::-1], aspect="equal", xticks=range(0, SIDE, 5), yticks=range(0, SIDE, 5))
    axes.set_xlabel("pixel column")
    axes.set_ylabel("pixel row")
    save(figure, "mask-paste-outline")


def draw_pieces() -> None:
    """One square: the turns of its sides, and the three pieces that they make."""
    upper_left, upper_right, lower_left, lower_right = 0.95, 0.3, 0.4, 0.9
    rows, columns = 12, 14
    y, x = (np.arange(rows) + 0.3) / rows, (np.arange(columns) + 0.5) / columns

    def value(v: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
        left, right = upper_left + v * (lower_left - upper_left), upper_right + v * (lower_right - upper_right)
        return left[:, None] + u * (right - left)[:, None]

    left_turn = (0.5 - upper_left) / (lower_left - upper_left)
    right_turn = (0.5 - upper_right) / (lower_right - upper_right)
    figure, axes = plt.subplots(figsize=(8.4, 4.0))
    bounds = [0.0, *sorted((left_turn, right_turn)), 1.0]
    texts = [
        "above both turns\nleft in, right out: runs end",
        "between them\nboth in: no edge",
        "below both\nleft out, right in: runs begin",
    ]
    for top, bottom, text, color in zip(bounds[:-1], bounds[1:], texts, (PALE, "white", PALE), strict=True):
        axes.add_patch(Rectangle((0, top), 1, bottom - top, facecolor=color, edgecolor="none", zorder=0))
        axes.text(1.75, (top + bottom) / 2, text, verticalalignment="center")
    above = value(y, x) >= 0.5
    for (i, j), inside in np.ndenumerate(above):
        axes.plot(x[j], y[i], "s", markersize=7, color=INSIDE if inside else "0.85", alpha=0.6)
    fine = np.linspace(0, 1, 300)
    axes.contour(fine, fine, value(fine, fine), levels=[0.5], colors=EDGE, linewidths=1.4)
    axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor="black"))
    for turn, side, name in ((left_turn, 0, "left"), (right_turn, 1, "right")):
        axes.plot([0, 1], [turn, turn], "--", color="0.4", linewidth=0.8)
        axes.plot(side, turn, "D", color=EDGE, markersize=6)
        axes.annotate(
            f"turn of the {name} side",
            (side, turn),
            (-10 if side == 0 else 10, 0),
            textcoords="offset points",
            horizontalalignment="right" if side == 0 else "left",
            verticalalignment="center",
            color=EDGE,
        )
    corners = ((0, 0, upper_left), (1, 0, upper_right), (0, 1, lower_left), (1, 1, lower_right))
    for u, v, number in corners:
        axes.plot(u, v, "o", color="black", markersize=8, fillstyle="full" if number >= 0.5 else "none")
        axes.annotate(
            f"{number:g}", (u, v), (-16 if u == 0 else 5, 7 if v == 0 else -12), textcoords="offset points"
        )
    axes.set(xlim=(-0.6, 2.6), ylim=(1.08, -0.1), xticks=[], yticks=[])
    axes.axis("off")
    save(figure, "mask-paste-pieces")


def draw_table() -> None:
    """The 32 codes, as the code has them."""
    figure, grid = plt.subplots(4, 8, figsize=(9.6, 5.6))
    for code, axes in enumerate(grid.flat):
        left_first = bool(code & 16)
        corners = [(0, 0, 1), (1, 0, 2), (0, 1, 4), (1, 1, 8)]
        for piece in range(3):
            _draw_band(axes, piece, int(_STEPS[piece, code]))
        axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor="black", linewidth=0.8))
        for x, y, bit in corners:
            axes.plot(
                x, y, "o", color="black", markersize=6, fillstyle="full" if code & bit else "none", clip_on=False
            )
        for x, turned in ((0, bool(code & 1) != bool(code & 4)), (1, bool(code & 2) != bool(code & 8))):
            first = (x == 0) == left_first
            if turned:
                axes.plot(x, 1 / 3 if first else 2 / 3, "D", color="0.4", markersize=4, clip_on=False)
        axes.set(xlim=(-0.25, 1.25), ylim=(1.2, -0.2), aspect="equal", title=f"{code}")
        axes.axis("off")
    figure.tight_layout()
    save(figure, "mask-paste-table")


def _draw_band(axes: Axes, piece: int, step: int) -> None:
    middle = (piece + 0.5) / 3
    axes.plot([0, 1], [piece / 3] * 2, color="0.8", linewidth=0.6)
    if step:
        color = BEGIN if step > 0 else END
        axes.text(
            0.5,
            middle,
            "begin" if step > 0 else "end",
            color=color,
            fontsize=8,
            horizontalalignment="center",
            verticalalignment="center",
        )


def draw_runs() -> None:
    """Two runs over two words of eight bits, as sums with a borrow."""
    begins, ends = np.array([2, 6]), np.array([4, 11])
    bits = np.unpackbits(fill_runs(begins, ends, 2), bitorder="little")
    figure, axes = plt.subplots(figsize=(8.4, 2.5))
    for bit, value in enumerate(bits):
        x = bit + (0.6 if bit >= 8 else 0)
        axes.add_patch(
            Rectangle((x, 0), 0.94, 0.9, facecolor=INSIDE if value else "white", edgecolor="0.4", alpha=0.6)
        )
        axes.text(x + 0.47, 0.45, str(value), horizontalalignment="center", verticalalignment="center")
        axes.text(x + 0.47, -0.3, f"$2^{{{bit}}}$", horizontalalignment="center", fontsize=8)
    for edges, sign, color in ((begins, "$-$", BEGIN), (ends, "$+$", END)):
        for bit in edges:
            x = bit + (0.6 if bit >= 8 else 0) + 0.47
            axes.annotate(
                f"{sign}$2^{{{bit}}}$",
                (x, 0.95),
                (x, 1.6),
                color=color,
                fontsize=11,
                horizontalalignment="center",
                arrowprops={"arrowstyle": "->", "color": color},
            )
    axes.annotate(
        "",
        (7.9, 1.15),
        (9.1, 1.15),
        arrowprops={"arrowstyle": "->", "color": "black", "connectionstyle": "arc3,rad=0.5"},
    )
    axes.text(8.3, 2.1, "borrowed: $2^8$ of word 0 is 1 of word 1", horizontalalignment="center")
    axes.text(4, -0.95, "word 0:  $-2^2+2^4-2^6+2^8$ = 204", horizontalalignment="center")
    axes.text(12.6, -0.95, "word 1:  $2^3-1$ = 7", horizontalalignment="center")
    axes.set(xlim=(-0.3, 17), ylim=(-1.2, 2.5))
    axes.axis("off")
    save(figure, "fill-runs")


if __name__ == "__main__":
    draw_outline()
    draw_pieces()
    draw_table()
    draw_runs()
