"""RoIAlign over a pyramid gives torchvision's numbers, with either reader."""

from functools import partial

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from segopt_export.static.roi_align import GATHERED_ON_A_GPU, GatherReader, GridReader, PyramidRoIAlign

CANVAS = (256, 320)
SIZES = [(64, 80), (32, 40), (16, 20), (8, 10)]
NAMES = ["0", "1", "2", "3"]


def features(sizes, batch=1, channels=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, channels, *size, generator=generator) for size in sizes]


def boxes_like_proposals(n, canvas, seed):
    """Boxes inside the canvas: all sizes, many at the border, some thinner than a cell, some without any area."""
    generator = torch.Generator().manual_seed(seed)
    limit = torch.tensor([canvas[1], canvas[0]] * 2, dtype=torch.float32)
    center = torch.rand(n, 2, generator=generator) * limit[:2]
    size = torch.exp(torch.rand(n, 2, generator=generator) * 8.5 - 2)
    boxes = torch.cat((center - size / 2, center + size / 2), dim=1)
    boxes = torch.minimum(boxes.clamp(min=0), limit)
    boxes[0] = torch.tensor([0.0, 0, limit[0], limit[1]])
    boxes[1] = torch.tensor([limit[0] - 0.5, limit[1] - 0.25, limit[0], limit[1]])
    boxes[2] = 0
    return boxes


ON_A_GPU = partial(GatherReader, at_once=GATHERED_ON_A_GPU)


@pytest.mark.parametrize("reader", [GatherReader, GridReader, ON_A_GPU], ids=["gather", "grid", "gather on a GPU"])
@pytest.mark.parametrize("bins", [7, 14])
def test_equals_torchvision(reader, bins):
    pool = MultiScaleRoIAlign(NAMES, bins, 2)
    levels = features(SIZES)
    ours = reader(SIZES)
    align = PyramidRoIAlign(pool, SIZES, CANVAS, ours)
    for seed in range(4):
        boxes = boxes_like_proposals(200, CANVAS, seed)
        expected = pool(dict(zip(NAMES, levels, strict=True)), [boxes], [CANVAS])
        found = align(ours.pack(levels), boxes[None])
        assert found.shape == expected.shape
        # Sample points differ by rounding, 3e-5 cells on a slope of a few units a cell.
        torch.testing.assert_close(found, expected, atol=3e-4, rtol=0)


@pytest.mark.parametrize("reader", [GatherReader, GridReader])
def test_frames_of_a_batch_do_not_mix(reader):
    pool = MultiScaleRoIAlign(NAMES, 7, 2)
    levels = features(SIZES, batch=3)
    ours = reader(SIZES)
    boxes = torch.stack([boxes_like_proposals(40, CANVAS, seed) for seed in range(3)])
    found = PyramidRoIAlign(pool, SIZES, CANVAS, ours)(ours.pack(levels), boxes)
    expected = pool(dict(zip(NAMES, levels, strict=True)), list(boxes), [CANVAS] * 3)
    torch.testing.assert_close(found, expected, atol=3e-4, rtol=0)


@pytest.mark.parametrize("reader", [GatherReader, GridReader])
def test_the_smallest_canvas_and_a_single_level_work(reader):
    for canvas, sizes in (((32, 32), [(8, 8), (4, 4), (2, 2), (1, 1)]), ((64, 96), [(4, 6)])):
        names = NAMES[: len(sizes)]
        pool = MultiScaleRoIAlign(names, 7, 2)
        levels = features(sizes)
        ours = reader(sizes)
        boxes = boxes_like_proposals(60, canvas, 1)
        expected = pool(dict(zip(names, levels, strict=True)), [boxes], [canvas])
        found = PyramidRoIAlign(pool, sizes, canvas, ours)(ours.pack(levels), boxes[None])
        torch.testing.assert_close(found, expected, atol=3e-4, rtol=0)


def test_a_box_goes_to_the_level_that_torchvision_chooses():
    pool = MultiScaleRoIAlign(NAMES, 7, 2)
    # Every level has one value everywhere, so the answer names the level; sides right at the limits included.
    levels = [torch.full((1, 1, *size), float(i)) for i, size in enumerate(SIZES)]
    sides = torch.tensor([1.0, 55.9, 56, 111.99, 112, 112.01, 223.9, 224, 224.1, 250])
    boxes = torch.stack([torch.tensor([0.0, 0, side, side]) for side in sides])
    reader = GatherReader(SIZES)
    found = PyramidRoIAlign(pool, SIZES, CANVAS, reader)(reader.pack(levels), boxes[None])
    expected = pool(dict(zip(NAMES, levels, strict=True)), [boxes], [CANVAS])
    assert found.mean(dim=(1, 2, 3)).round().tolist() == expected.mean(dim=(1, 2, 3)).round().tolist()


def test_an_adaptive_sampling_ratio_is_refused():
    with pytest.raises(ValueError, match="sampling ratio"):
        PyramidRoIAlign(MultiScaleRoIAlign(NAMES, 7, 0), SIZES, CANVAS, GatherReader(SIZES))
