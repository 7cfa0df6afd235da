"""Masks with eight pixels to a byte: an eighth of the memory to write, and to compare with one another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class PackedCrop:
    """A mask that is False outside of one rectangle of the frame."""

    x: int
    y: int
    """Column and row of the rectangle's top left pixel."""
    width: int
    """Of the rectangle; bits beyond it are 0."""
    bits: Bytes
    """uint8 [h, b]: row by row, the lowest bit of a byte is its leftmost pixel."""

    @cached_property
    def area(self) -> int:
        """Number of True pixels."""
        return int(cv2.norm(self.bits, cv2.NORM_HAMMING)) if self.bits.size else 0

    def unpack(self) -> Bytes:
        """uint8 [h, width]: 1 where the mask is True."""
        return np.unpackbits(self.bits, axis=1, count=self.width, bitorder="little")


def even_odd_fill(edges: NDArray[np.int64], size: int) -> Bytes:
    """Set the bits between edges: from the first to the second, from the third to the fourth, and so on.

    Args:
        edges: int64 [2 K], numbers of bits from 0 to ``8 * size``, in any order; an edge is before its bit.
            Edges that come twice cancel.
        size: number of bytes.

    Returns:
        uint8 [size], lowest bits first.
    """
    words = np.zeros(size // 8 + 1, dtype="<u8")
    # A bit is set where the number of edges up to it is odd. An edge flips all bits from its own on: those of its
    # word here, those of the following words below.
    flips = np.left_shift(~np.uint64(0), (edges & 63).view(np.uint64))
    np.bitwise_xor.at(words, edges >> 6, flips)
    odd = words >> np.uint64(63)
    np.bitwise_xor.accumulate(odd, out=odd)
    words[1:] ^= np.negative(odd[:-1], out=odd[:-1])
    return words.view(np.uint8)[:size]
