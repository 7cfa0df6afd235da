"""Masks with eight pixels to a byte, against masks with a byte to a pixel."""

import numpy as np
import pytest

from segopt.masks.bitmask import Bitmask, fill_runs


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 200])
@pytest.mark.parametrize("runs", [0, 1, 2, 40, 800])
def test_bits_of_runs_are_set(size, runs):
    random = np.random.default_rng([size, runs])
    for _ in range(20):
        # Sorted, so that a run begins where the last one ended, or later; many are empty.
        edges = np.sort(random.integers(0, 8 * size + 1, 2 * runs))
        begins, ends = edges[0::2], edges[1::2]
        wanted = np.zeros(8 * size, bool)
        for begin, end in zip(begins, ends, strict=True):
            wanted[begin:end] = True
        bits = fill_runs(random.permutation(begins), random.permutation(ends), size)
        assert bits.shape == (size,)
        np.testing.assert_array_equal(np.unpackbits(bits, bitorder="little").astype(bool), wanted)


def test_runs_that_touch_are_one():
    bits = fill_runs(np.array([64, 3, 100]), np.array([100, 130, 64]), 20)
    assert np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist() == list(range(3, 130))


@pytest.mark.parametrize("shape", [(5, 13), (3, 8), (1, 1), (4, 0), (0, 0)])
def test_a_crop_unpacks_to_its_pixels(shape):
    mask = np.random.default_rng(shape).random(shape) < 0.5
    crop = Bitmask(0, 0, shape[1], np.packbits(mask, axis=1, bitorder="little"))
    np.testing.assert_array_equal(crop.unpack(), mask)
    assert crop.area == np.count_nonzero(mask)
