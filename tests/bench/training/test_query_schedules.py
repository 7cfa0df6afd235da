"""Rates and masks over a query network's training."""

import pytest
import torch

from lively_eomt import TINY
from segopt_bench.training.query_schedules import (
    Warmup,
    mask_probabilities,
    parameter_groups,
    rate_share,
    set_rates,
)
from segopt_export.networks.eomt import EoMT


@pytest.mark.parametrize(
    ("steps", "begin", "end"),
    [
        # As the authors' configurations for COCO panoptic have them, of sizes S and L.
        (177_384, (29_564, 73_910, 118_256), (59_128, 103_474, 147_820)),
        (88_692, (14_782, 29_564, 44_346, 59_128), (29_564, 44_346, 59_128, 73_910)),
    ],
)
def test_masks_are_annealed_away_when_the_authors_do_it(steps, begin, end):
    for block, (first, last) in enumerate(zip(begin, end, strict=True)):
        at = [
            mask_probabilities(step, steps, len(begin))[block]
            for step in (0, first, (first + last) // 2, last + 1, steps)
        ]
        assert at == pytest.approx([1, 1, 0.5**0.9, 0, 0], abs=1e-4)


def test_masks_are_whole_at_first_and_gone_in_the_end_however_many_blocks_there_are():
    for blocks in (1, 2, 5):
        assert mask_probabilities(0, 100, blocks) == [1] * blocks
        assert mask_probabilities(100, 100, blocks) == [0] * blocks
        for step in range(101):
            shares = mask_probabilities(step, 100, blocks)
            assert shares == sorted(shares)


def test_rates_rise_along_a_line_and_fall_along_a_polynomial():
    assert [rate_share(step, 1000, 9) for step in (0, 4)] == pytest.approx([0.1, 0.5])
    assert rate_share(9, 1000, 9) == 1
    assert rate_share(9 + 991 // 2, 1000, 9) == pytest.approx(0.5**0.9, rel=2e-3)
    assert rate_share(1000, 1000, 9) == 0
    assert [rate_share(step, 1000, 9, delay=5) for step in (0, 4)] == [0, 0]
    assert rate_share(5, 1000, 9, delay=5) == pytest.approx(0.1)


def test_a_short_training_warms_up_for_a_tenth_of_it():
    assert Warmup(500, 1000, 500).shortened(90_000) == Warmup(500, 1000, 500)
    assert Warmup(500, 1000, 500).shortened(1500) == Warmup(50, 100, 50)
    assert Warmup(500, 500).shortened(10) == Warmup(1, 1)


def test_each_layer_learns_slower_than_the_one_above_it():
    model = EoMT(TINY)
    groups = parameter_groups(model, 1.0, 0.5)
    rates = {id(parameter): group["full"] for group in groups for parameter in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    of = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert of["layers.2.mlp.fc1.weight"] == of["query.weight"] == of["layernorm.weight"] == 1
    assert of["mask_head.fc1.bias"] == of["class_predictor.weight"] == 1
    assert of["layers.1.norm1.bias"] == 0.5
    assert of["layers.0.norm1.bias"] == of["embeddings.cls_token"] == 0.25
    optimizer = torch.optim.AdamW(groups)
    set_rates(optimizer.param_groups, 3, 1000, Warmup(heads=9, encoder=9, delay=10))
    assert {(group["encoder"], group["lr"]) for group in optimizer.param_groups} == {(True, 0), (False, 0.4)}
