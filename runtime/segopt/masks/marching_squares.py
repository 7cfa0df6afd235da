"""Where masks begin and end in each row of pixels.

Marching squares: an interpolated mask passes the threshold only in squares between four neighboring cells that
are not all on the same side of it. Along a side of a square the mask is a straight line, and so it is from the
left side to the right one in each row of pixels. So nothing is computed at pixels: the turns of the sides cut a
square into pieces, whose rows of pixels all pass the threshold in the same way, and each row of a piece is solved
for the place where it does. ``docs/mask-paste.md`` derives it, with figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segopt.masks.placement import Axis, Doubles, Integers, Singles

_TIE = 1e-9
"""Pixels: nearer than this to an outline, a pixel is on it, and belongs to the object."""
_MOST = np.float32(1e9)
"""Larger values are as good as this one; what is no number is as good as minus it."""


@dataclass(frozen=True)
class Edges:
    """K places where a row of pixels enters or leaves a mask, in no order."""

    row: Integers
    """int64 [K], counted through all masks: the first row of the second follows the last row of the first."""
    column: Integers
    """int64 [K]: a run's first pixel, or the pixel after its last one."""
    begins: int
    """So many of them begin runs, all before those that end them."""


def outlines(masks: NDArray[np.floating], down: Axis, across: Axis, threshold: float) -> Edges:
    """Edges of masks on pixels.

    Args:
        masks: float [N, M, M].
        down: N intervals along y.
        across: N intervals along x, none of which starts below 0.
        threshold: a pixel belongs to the object from this value on.

    Returns:
        As many edges that begin a run as that end one in each row, with columns from the interval's start to its
        stop.
    """
    least = np.float32(threshold)
    if least <= 0:
        # Probabilities are not negative, and outside of the mask they are 0.
        rows = int(down.size.sum())
        ends = np.concatenate([side.repeat(down.size) for side in (across.start, across.stop)])
        return Edges(np.tile(np.arange(rows), 2), ends, rows)
    return _solve(_pieces(_Grid(masks, down, least)), down, across)


class _Grid:
    """Cells of masks as one array, a border of zeros around each mask; squares are named by their first cell."""

    def __init__(self, masks: NDArray[np.floating], down: Axis, least: np.float32) -> None:
        n, size = masks.shape[:2]
        self.lines = size + 2
        """Rows and columns of cells of a mask."""
        self.least = least
        cells = np.zeros((n, self.lines, self.lines), dtype=np.float32)
        np.fmin(np.fmax(masks, -_MOST), _MOST, out=cells[:, 1:-1, 1:-1])
        self.values: Singles = cells.reshape(-1)
        self.above = (self.values >= least).view(np.uint8)
        first = np.ceil(np.arange(-1, size + 1) * down.step[:, None] + (down.first[:, None] - _TIE))
        self.first_rows: Doubles = np.clip(first, down.start[:, None], down.stop[:, None]).reshape(-1)
        """[N (M + 2)]: first row of pixels at or past each row of cells."""
        self.down = down

    def place(self, cell: Integers) -> tuple[Integers, Integers, Integers, Integers]:
        """Of cells [K]: their row among all rows of cells, their mask, and their row and column in it."""
        row = cell // self.lines
        mask = row // self.lines
        # The border is row -1 and column -1.
        return row, mask, row - mask * self.lines - 1, cell - row * self.lines - 1

    def turns(self, changed: Integers) -> Doubles:
        """First row of pixels on the side of the cell below, for cells [K] that are on another side than it."""
        row, mask, i, _ = self.place(changed)
        upper, lower = self.values.take(changed).astype(np.float64), self.values.take(changed + self.lines)
        y = ((self.least - upper) / (lower - upper) + i) * self.down.step.take(mask) + self.down.first.take(mask)
        first: Doubles = np.where(lower > upper, np.ceil(y - _TIE), np.floor(y + _TIE) + 1)
        return first.clip(self.first_rows.take(row), self.first_rows.take(row + 1))


@dataclass(frozen=True)
class _Pieces:
    """K runs of rows of pixels that pass the threshold in one square."""

    grid: _Grid
    square: Integers
    """int64 [K]."""
    start: Doubles
    """float64 [K]: first row of pixels, in the frame."""
    count: Integers
    """int64 [K]: number of rows."""
    begins: int
    """So many of them begin runs, all before those that end them."""


def _pieces(grid: _Grid) -> _Pieces:
    lines, above = grid.lines, grid.above
    # The border is alike all around, so neighbors in this order need not be neighbors in a mask.
    passed = above[1:] ^ above[:-1]
    passed_down = above[lines:] ^ above[:-lines]
    # From which row on each column of cells is on the side of the next row of cells.
    turn = np.empty((len(grid.first_rows), lines))
    turn[:-1] = grid.first_rows[1:, None]
    turn = turn.reshape(-1)
    changed = np.flatnonzero(passed_down.view(np.bool_))
    turn[changed] = grid.turns(changed)

    mixed = passed[:-lines]
    mixed |= passed_down[:-1]
    mixed |= passed_down[1:]
    square = np.flatnonzero(mixed.view(np.bool_))
    left, right = turn.take(square), turn.take(square + 1)
    row = square // lines
    # Between these rows of pixels nothing turns: above both turns, between them, and below both.
    bounds = np.stack(
        (
            grid.first_rows.take(row),
            np.minimum(left, right),
            np.maximum(left, right),
            grid.first_rows.take(row + 1),
        )
    )
    pairs = above[:-1] + 2 * above[1:]
    corners = pairs.take(square) + 4 * pairs.take(square + lines) + 16 * (left < right).view(np.uint8)
    counts = bounds[1:] - bounds[:-1]
    steps = (_STEPS.take(corners, axis=1) * (counts > 0)).reshape(-1)
    begins, ends = np.flatnonzero(steps > 0), np.flatnonzero(steps < 0)
    some = np.concatenate((begins, ends))
    return _Pieces(
        grid,
        np.tile(square, 3).take(some),
        bounds.reshape(-1).take(some),
        counts.reshape(-1).take(some).astype(np.int64),
        len(begins),
    )


def _steps() -> NDArray[np.int8]:
    """int8 [3, 32]: whether a square passes the threshold from its left to its right: 1 up, -1 down, 0 not.

    Above both sides' turns, between them, and below both; by which corners are above the threshold (1 is top left,
    2 top right, 4 bottom left, 8 bottom right) and by whether the left side turns first (16).
    """
    top_left, top_right, bottom_left, bottom_right, left_first = (np.arange(32) >> bit & 1 for bit in range(5))
    between = np.where(left_first, bottom_left - top_right, top_left - bottom_right)
    return np.stack((top_right - top_left, -between, bottom_right - bottom_left)).astype(np.int8)


_STEPS = _steps()


def _solve(pieces: _Pieces, down: Axis, across: Axis) -> Edges:
    grid, count = pieces.grid, pieces.count
    starts = np.cumsum(count) - count
    _, mask, i, j = grid.place(pieces.square)
    # In a piece's k-th row of pixels the mask is a + k b on the left side of the square, and c + k d more on the
    # right.
    upper = grid.values.take(pieces.square).astype(np.float64)
    slope = grid.values.take(pieces.square + grid.lines) - upper
    upper_more = grid.values.take(pieces.square + 1) - upper
    slope_more = grid.values.take(pieces.square + grid.lines + 1) - upper - slope - upper_more
    cells_per_row = 1 / down.step.take(mask)
    # Edges are numbered through all pieces, and k is taken from there.
    share = (pieces.start - starts - down.first.take(mask)) * cells_per_row - i
    a, b = upper + slope * share, slope * cells_per_row
    c, d = upper_more + slope_more * share, slope_more * cells_per_row
    # Solved for the column, (least - a - k b) / (c + k d) of a square right of its left side.
    width = across.step.take(mask)
    side, next_side = j * width + across.first.take(mask), (j + 1) * width + across.first.take(mask)
    e, f = side * c + width * (grid.least - a), side * d - width * b

    piece = np.zeros(int(count.sum()), dtype=np.int64)
    piece[starts[1:]] = 1
    np.cumsum(piece, out=piece)
    k = np.arange(len(piece))
    real_k = k.astype(np.float64)
    column = _line(e, f, piece, real_k)
    # Where both sides are at the threshold, any place between them will do.
    with np.errstate(divide="ignore", invalid="ignore"):
        column /= _line(c, d, piece, real_k)
    # A run's last pixel is the one before its end: it may be the pixel before the first.
    last = -(np.arange(len(count)) >= pieces.begins).astype(np.float64)
    nearest, furthest = across.start.take(mask) + last, across.stop.take(mask) + last
    np.fmax(column, np.clip(side, nearest, furthest).take(piece), out=column)
    # A pixel on the right side is the next square's, where another run may begin: no two runs share a pixel.
    beyond = np.ceil(next_side - _TIE)
    np.fmin(column, np.clip(beyond + last, nearest, furthest).take(piece), out=column)
    begins = int(count[: pieces.begins].sum())
    column[:begins] -= _TIE
    np.ceil(column[:begins], out=column[:begins])
    column[begins:] += 1 + _TIE
    np.floor(column[begins:], out=column[begins:])
    row = (np.cumsum(down.size) - down.size - down.start).take(mask) + pieces.start.astype(np.int64) - starts
    k += row.take(piece)
    return Edges(k, column.astype(np.int64), begins)


def _line(at_zero: Doubles, slope: Doubles, piece: Integers, k: Doubles) -> Doubles:
    y: Doubles = slope.take(piece)
    y *= k
    y += at_zero.take(piece)
    return y
