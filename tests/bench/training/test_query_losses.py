"""Losses of query networks, against transformers' own and against brute force."""

from itertools import permutations

import pytest
import torch

from lively_eomt import TINY, lively, pixels, transformers_network
from segopt_bench.training.mask_points import at_points, unsure_points
from segopt_bench.training.query_losses import QueryLoss, Segments, assign, dice_loss
from segopt_bench.training.query_training import answers, losses

POINTS = 200
CLASSES = 5
NAMES = {"classes": "loss_cross_entropy", "mask": "loss_mask", "dice": "loss_dice"}


def truth_of(counts, *, classes=CLASSES, side=64, seed=0):
    """Pictures with so many segments, which are boxes of random classes."""
    generator = torch.Generator().manual_seed(seed)
    pictures = []
    for count in counts:
        masks = torch.zeros(count, side, side, dtype=torch.uint8)
        for mask in masks:
            top, left, height, width = torch.randint(8, side // 2, (4,), generator=generator).tolist()
            mask[top : top + height, left : left + width] = 1
        pictures.append(Segments(torch.randint(classes, (count,), generator=generator), masks))
    return pictures


def answer_of(batch, *, queries=7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    masks = 3 * torch.randn(batch, queries, 16, 16, generator=generator)
    return masks, 2 * torch.randn(batch, queries, CLASSES + 1, generator=generator)


def their_criterion(classes, points):
    from transformers import EomtConfig
    from transformers.models.eomt.modeling_eomt import EomtLoss

    labels = {i: str(i) for i in range(classes)}
    return EomtLoss(EomtConfig(id2label=labels, train_num_points=points), {})


@pytest.mark.parametrize("counts", [(3, 1), (1, 9), (0, 4)])
def test_losses_are_those_of_transformers_at_the_same_points(counts):
    truth, (masks, classes) = truth_of(counts), answer_of(len(counts))
    loss = QueryLoss(points=POINTS)
    torch.manual_seed(5)
    ours = loss(masks, classes, truth)
    torch.manual_seed(5)
    theirs = their_criterion(CLASSES, POINTS)(
        masks, classes, [each.masks.float() for each in truth], [each.labels for each in truth]
    )
    weights = {"classes": loss.class_weight, "mask": loss.mask_weight, "dice": loss.dice_weight}
    for name, weight in weights.items():
        assert float(ours[name]) == pytest.approx(weight * float(theirs[NAMES[name]]), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("probabilities", [(1.0, 1.0), (1.0, 0.5), (0.3, 0.7)])
def test_a_training_step_has_the_loss_and_the_gradients_of_transformers(probabilities):
    model = lively()
    theirs = transformers_network(model).train()
    theirs.attn_mask_probs.copy_(torch.tensor(probabilities))
    theirs.criterion.num_points = theirs.criterion.matcher.num_points = POINTS
    images, truth = pixels((TINY.side, TINY.side), count=2), truth_of((4, 2), classes=TINY.classes, side=128)
    torch.manual_seed(9)
    parts = losses(QueryLoss(points=POINTS), answers(model, images, probabilities), truth)
    ours = sum(parts.values())
    ours.backward()
    torch.manual_seed(9)
    expected = theirs(
        images,
        mask_labels=[each.masks.float() for each in truth],
        class_labels=[each.labels for each in truth],
    ).loss
    expected.backward()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-4)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in model.named_parameters():
        scale = gradients[name].abs().max()
        assert (parameter.grad - gradients[name]).abs().max() <= 2e-3 * scale + 1e-6, name


@pytest.mark.parametrize("size", [(5, 3), (3, 5), (4, 4)])
def test_pairs_cost_as_little_as_any_could(size):
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        cost = torch.randn(size, generator=generator)
        rows, columns = assign(cost)
        square = cost if size[0] >= size[1] else cost.T
        least = min(
            sum(float(square[row, column]) for column, row in enumerate(order))
            for order in permutations(range(square.shape[0]), square.shape[1])
        )
        assert float(cost[rows, columns].sum()) == pytest.approx(least, abs=1e-5)
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == min(size)


def test_what_is_no_number_is_paired_last():
    cost = torch.tensor([[float("nan"), 1.0], [0.0, float("inf")], [5.0, 5.0]])
    assert [each.tolist() for each in assign(cost)] == [[0, 1], [1, 0]]


def test_matches_are_by_class_and_by_mask():
    masks = torch.full((1, 3, 16, 16), -9.0)
    masks[0, 0, :8], masks[0, 1, 8:], masks[0, 2, :8] = 9, 9, 9
    classes = torch.zeros(1, 3, 3)
    classes[0, 2, 1] = 6
    truth = [Segments(torch.tensor([0, 1]), torch.zeros(2, 16, 16, dtype=torch.uint8))]
    truth[0].masks[0, 8:], truth[0].masks[1, :8] = 1, 1
    ((queries, segments),) = QueryLoss(points=POINTS).match(masks, classes, truth)
    assert dict(zip(queries.tolist(), segments.tolist(), strict=True)) == {1: 0, 2: 1}


def test_pictures_without_segments_teach_that_there_is_nothing():
    masks, classes = (each.requires_grad_() for each in answer_of(2))
    parts = QueryLoss(points=POINTS)(masks, classes, truth_of((0, 0)))
    assert float(parts["mask"].detach()) == float(parts["dice"].detach()) == 0
    sum(parts.values()).backward()
    assert masks.grad.abs().max() == 0
    assert (classes.grad[..., -1] < 0).all()


def test_a_perfect_mask_has_no_dice_loss():
    labels = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert dice_loss(50 * (2 * labels - 1), labels).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert dice_loss(-50 * (2 * labels - 1), labels).min() > 0.5


def test_a_point_in_a_pixel_s_middle_has_its_value():
    masks = torch.arange(24.0).reshape(2, 3, 4)
    y, x = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    points = torch.stack([(x + 0.5) / 4, (y + 0.5) / 3], dim=-1).reshape(1, 12, 2)
    assert torch.allclose(at_points(masks, points), masks.flatten(1), atol=1e-5)
    assert torch.allclose(at_points(masks, points.expand(2, -1, -1)), masks.flatten(1), atol=1e-5)


def test_most_points_are_where_a_mask_is_unsure():
    ramp = torch.linspace(-8, 8, 64).expand(1, 64, 64)
    for share, least in ((0.0, 0.2), (1.0, 0.95)):
        points = unsure_points(ramp, 400, oversampling=3, share=share)
        assert points.shape == (1, 400, 2)
        near = (at_points(ramp, points).abs() < 2.8).float().mean()
        assert float(near) >= least
        assert (float(near) < 0.6) == (share == 0)
