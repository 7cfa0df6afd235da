"""Our EoMT says what transformers' says, and looks at a canvas as the trained square would."""

import pytest
import torch

from lively_eomt import CANVAS, TINY, lively, pixels, transformers_network
from segopt_export.networks.eomt import EoMT, EomtShape, fit_to_canvas, fold_attention_scale

SMALL = EomtShape(hidden=384, layers=12, heads=6, blocks=3, classes=133)


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def assert_same_answer(model, canvas, count=1):
    theirs = transformers_network(model, canvas)
    fit_to_canvas(model, canvas)
    images = pixels(canvas, count=count)
    with torch.no_grad():
        masks, classes = model(images)
        expected = theirs(images)
    assert masks.shape == expected.masks_queries_logits.shape
    assert masks.shape[-2:] == (canvas[0] // 4, canvas[1] // 4)
    assert relative(masks, expected.masks_queries_logits) < 1e-4
    assert relative(classes, expected.class_queries_logits) < 1e-4


@pytest.mark.parametrize("canvas", [CANVAS, (96, 128), (160, 64)])
@pytest.mark.parametrize("masked", [(True, True), (False, False), (False, True)])
def test_it_answers_as_transformers_does(canvas, masked):
    assert_same_answer(lively(masked=masked), canvas, count=2)


@pytest.mark.slow
@pytest.mark.parametrize("canvas", [(640, 640), (384, 640)])
@pytest.mark.parametrize("masked", [(True,) * 3, (False,) * 3])
def test_the_small_one_answers_as_transformers_does(canvas, masked):
    assert_same_answer(lively(SMALL, masked=masked), canvas)


def test_a_mask_keeps_queries_from_looking_elsewhere():
    images = pixels(CANVAS)
    with torch.no_grad():
        free, masked = lively(masked=(False, False)), lively(masked=(False, False))
        masked.masked = (True, True)
        assert relative(masked(images)[0], free(images)[0]) > 1e-2


def test_folding_the_attention_scale_changes_nothing():
    model, images = lively(), pixels(CANVAS)
    with torch.no_grad():
        before = model(images)
        fold_attention_scale(model)
        after = model(images)
    # Heads of 16 are divided by four, a power of two: not a bit differs.
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def positions(canvas):
    model = EoMT(TINY)
    square = torch.arange(64.0).reshape(8, 8)
    model.embeddings.position_embeddings.weight.data.copy_(square.reshape(-1, 1).expand(-1, TINY.hidden))
    fit_to_canvas(model, canvas)
    height, width = canvas[0] // 16, canvas[1] // 16
    assert model.grid == (height, width)
    return model.embeddings.position_embeddings.weight.reshape(height, width, -1)[..., 0], square


@pytest.mark.parametrize("canvas", [(128, 128), (96, 128), (64, 32)])
def test_a_smaller_canvas_has_the_positions_of_its_part_of_the_square(canvas):
    found, square = positions(canvas)
    assert torch.equal(found, square[: canvas[0] // 16, : canvas[1] // 16])


def test_for_a_larger_canvas_the_square_grows_to_its_longer_side():
    found, square = positions((128, 256))
    # Twice as fine: a cell of the square's, away from the border, is the mean of four.
    middle = found[2:-2, 4:12].unfold(0, 2, 2).unfold(1, 2, 2).mean(dim=(-1, -2))
    torch.testing.assert_close(middle, square[1:3, 2:6], rtol=0, atol=0.2)
