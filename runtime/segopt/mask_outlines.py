"""Where masks begin and end in each row of pixels.

Along a row of pixels an interpolated mask is a chain of straight lines between the centres of its cells, and zero
at both ends. So a row needs no value at its pixels: it is enough to know the chain at the centres, and to solve
for the places between two of them where it passes the threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segopt.mask_axes import Axis, Doubles, Integers, Singles


def crossings(
    masks: NDArray[np.floating], down: Axis, across: Axis, threshold: float
) -> tuple[Integers, Integers]:
    """Edges of masks on pixels: where, from the left to the right, a mask begins or ends.

    Args:
        masks: float [N, M, M].
        down: N intervals along y.
        across: N intervals along x.
        threshold: a pixel belongs to the object from this value on.

    Returns:
        int64 [2 K] twice: row and column. Rows are counted through all masks (the first row of the second mask
        follows the last row of the first). In each row edges alternate, and columns do not descend: a run's first
        pixel, and the pixel after its last one.
    """
    mask_of_row = np.repeat(np.arange(len(masks)), down.size)
    least = np.float32(threshold)
    if least <= 0:
        # Probabilities are not negative, and outside of the mask they are 0.
        rows = np.arange(len(mask_of_row)).repeat(2)
        ends = np.stack((across.start[mask_of_row], across.stop[mask_of_row]), axis=1)
        return rows, ends.reshape(-1)
    values = _stretch_down(masks, down, mask_of_row)
    width = values.shape[1]
    chain = values.reshape(-1)
    above = chain >= least
    # Every row begins and ends with a zero, so that no crossing is between two rows.
    at = np.flatnonzero(above[1:] != above[:-1])
    left, right = chain[at], chain[at + 1]
    # What is no number, between cells that are not finite, becomes a place all the same.
    share = np.fmax((least - left) / (right - left), 0)
    row = at // width
    i = mask_of_row[row]
    column = across.pixels(i, (at - row * width - 1) + share.astype(np.float64))
    np.ceil(column[0::2], out=column[0::2])
    np.floor(column[1::2], out=column[1::2])
    column[1::2] += 1
    return row, np.clip(column.astype(np.int64), across.start[i], across.stop[i])


def _stretch_down(masks: NDArray[np.floating], down: Axis, mask_of_row: Integers) -> Singles:
    """float32 [R, M + 2]: the masks, with a border of zeros, interpolated at each row of pixels."""
    n, size = masks.shape[:2]
    firsts = np.cumsum(down.size) - down.size
    pixels = np.arange(len(mask_of_row)) + (down.start - firsts)[mask_of_row]
    position: Doubles = np.clip(down.positions(mask_of_row, pixels), -1, size)
    above = np.minimum(np.floor(position), size - 1)
    share = (position - above).astype(np.float32)
    cells = np.zeros((n, size + 2, size + 2), dtype=np.float32)
    cells[:, 1:-1, 1:-1] = masks
    steps = np.zeros_like(cells)
    np.subtract(cells[:, 1:], cells[:, :-1], out=steps[:, :-1])
    index = mask_of_row * (size + 2) + above.astype(np.int64) + 1
    values: Singles = steps.reshape(-1, size + 2).take(index, axis=0)
    values *= share[:, None]
    values += cells.reshape(-1, size + 2).take(index, axis=0)
    return values
