"""Masks with eight pixels to a byte: an eighth of the memory to write, and to compare with one another.

``docs/mask-paste.md`` shows how :func:`fill_runs` works.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Bitmask:
    """A mask that is False outside of one rectangle of the frame."""

    x: int
    y: int
    """Column and row of the rectangle's top left pixel."""
    width: int
    """Of the rectangle; bits beyond it are 0."""
    bits: Bytes
    """uint8 [h, b]: row by row, the lowest bit of a byte is its leftmost pixel."""

    @property
    def area(self) -> int:
        """Number of True pixels; they are counted each time."""
        return int(cv2.norm(self.bits, cv2.NORM_HAMMING)) if self.bits.size else 0

    def box(self) -> tuple[int, int, int, int]:
        """Tight box of the True pixels: x0, y0, x1, y1 in pixels of the frame; four zeros where there are none."""
        column, row, columns, rows = cv2.boundingRect(self.bits) if self.bits.size else (0, 0, 0, 0)
        if columns == 0:
            return 0, 0, 0, 0
        last = column + columns - 1
        sides = self.bits[row : row + rows]
        left = int(np.bitwise_or.reduce(sides[:, column]))
        right = int(np.bitwise_or.reduce(sides[:, last]))
        x0 = self.x + 8 * column + (left & -left).bit_length() - 1
        return x0, self.y + row, self.x + 8 * last + right.bit_length(), self.y + row + rows

    def unpack(self) -> Bytes:
        """uint8 [h, width]: 1 where the mask is True."""
        return np.unpackbits(self.bits, axis=1, count=self.width, bitorder="little")


def fill_runs(begins: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> Bytes:
    """Set the bits of runs that do not overlap.

    Args:
        begins: int64 [K], the number of each run's first bit, from 0 to ``8 * size``, in any order.
        ends: int64 [K], the number of the bit after each run's last one, in any order. A run may be empty.
        size: number of bytes.

    Returns:
        uint8 [size], lowest bits first.
    """
    # All bits are one long number, and a run of ones is 2**end - 2**begin. Each word is summed up for itself.
    words = np.zeros(size // 8 + 1, dtype=np.uint64)
    open_runs = np.zeros(len(words), dtype=np.int8)
    for edges, down, up in ((begins, np.subtract, np.add), (ends, np.add, np.subtract)):
        word = edges >> 6
        down.at(words, word, np.left_shift(np.uint64(1), (edges & 63).view(np.uint64)))
        up.at(open_runs, word, np.ones(len(word), dtype=np.int8))
    # What a run that goes on into the next word has borrowed from there.
    np.cumsum(open_runs, dtype=np.int8, out=open_runs)
    words[1:] -= open_runs[:-1].view(np.uint8)
    return words.astype("<u8", copy=False).view(np.uint8)[:size]
