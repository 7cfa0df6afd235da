"""Masks with eight pixels to a byte, against masks with a byte to a pixel."""

import numpy as np
import pytest

from segopt.packed import PackedCrop, even_odd_fill


def fill_slowly(edges, size):
    inside = np.zeros(8 * size + 1, bool)
    for edge in edges:
        inside[edge:] ^= True
    return inside[:-1]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 200])
@pytest.mark.parametrize("pairs", [0, 1, 2, 40])
def test_bits_between_edges_are_set(size, pairs):
    random = np.random.default_rng([size, pairs])
    for order in (np.sort, random.permutation):
        edges = order(random.integers(0, 8 * size + 1, 2 * pairs))
        bits = even_odd_fill(edges, size)
        assert bits.shape == (size,)
        np.testing.assert_array_equal(np.unpackbits(bits, bitorder="little"), fill_slowly(edges, size))


def test_edges_that_come_twice_cancel():
    bits = even_odd_fill(np.array([3, 3, 10, 20, 20, 64, 64, 70]), 16)
    assert np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist() == list(range(10, 70))


@pytest.mark.parametrize("shape", [(5, 13), (3, 8), (1, 1), (4, 0), (0, 0)])
def test_a_crop_unpacks_to_its_pixels(shape):
    mask = np.random.default_rng(shape).random(shape) < 0.5
    crop = PackedCrop(0, 0, shape[1], np.packbits(mask, axis=1, bitorder="little"))
    np.testing.assert_array_equal(crop.unpack(), mask)
    assert crop.area == np.count_nonzero(mask)
