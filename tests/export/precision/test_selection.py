"""Which layers become INT8 where the loss is bounded: those that save most time for what they lose."""

import itertools

import onnx
import pytest
from onnx import TensorProto, helper

from segopt_export.precision.selection import Search, time_saved

LOSSES = {"a": 0.1, "b": 2.0, "c": 0.3, "d": 0.05, "e": 0.6, "f": 0.0}
SAVED = {"a": 0.3, "b": 0.25, "c": 0.2, "d": 0.05, "e": 0.1, "f": 0.1}


def added(layers):
    """What layers lose together, where their losses add up."""
    return sum(LOSSES[layer] for layer in layers)


def share(layers):
    return sum(SAVED[layer] for layer in layers)


def best_of_all(bound):
    """By trying every set."""
    sets = (set(each) for k in range(len(LOSSES) + 1) for each in itertools.combinations(LOSSES, k))
    return max(share(each) for each in sets if added(each) <= bound)


def test_where_all_layers_are_within_the_bound_none_is_looked_at_alone():
    tried = []
    found = Search(SAVED, lambda layers: tried.append(set(layers)) or added(layers)).within(3.5)
    assert found.chosen == set(LOSSES)
    assert found.saved == pytest.approx(1)
    assert tried == [set(LOSSES)]
    assert not found.alone


@pytest.mark.parametrize("bound", [0.01, 0.1, 0.2, 0.5, 1.0, 1.2, 2.2])
def test_the_set_is_within_the_bound_and_saves_nearly_what_the_best_one_saves(bound):
    found = Search(SAVED, added).within(bound)
    assert added(found.chosen) == pytest.approx(found.lost)
    assert found.lost <= bound
    assert found.saved >= 0.9 * best_of_all(bound)


def test_a_loss_that_does_not_add_up_is_seen_in_the_end():
    """Alone each of two loses nothing, together all."""
    found = Search(SAVED, lambda layers: 50.0 if {"a", "b"} <= set(layers) else 0.0).within(1.0)
    assert found.lost == 0
    assert found.chosen in (set(LOSSES) - {"a"}, set(LOSSES) - {"b"})
    assert found.chosen == set(LOSSES) - {"b"}, "the one that saves less"


def test_where_every_layer_loses_too_much_none_is_taken():
    found = Search(SAVED, lambda layers: 10.0 * len(layers)).within(1.0)
    assert (found.chosen, found.saved, found.lost) == (frozenset(), 0, 0)


def test_the_trade_off_has_no_set_that_another_one_beats():
    found = Search(SAVED, added).within(1.0)
    points = found.trade_off
    assert [point.saved for point in points] == sorted(point.saved for point in points)
    assert [point.lost for point in points] == sorted(point.lost for point in points)
    assert found.chosen in [point.layers for point in points]
    assert all(point.lost == pytest.approx(added(point.layers)) for point in points)


def test_a_search_does_not_measure_twice():
    tried = []
    search = Search(SAVED, lambda layers: tried.append(frozenset(layers)) or added(layers), len)
    for bound in (1.0, 0.7, 0.4):
        search.within(bound)
    assert len(tried) == len(set(tried))


def test_time_goes_by_operations_and_by_memory_where_that_is_slower():
    """A convolution over 64 channels, and one of each channel for itself, which does 64 times less."""
    value = helper.make_tensor_value_info
    shape = [1, 64, 32, 32]
    weights = {"dense": [64, 64, 3, 3], "depthwise": [64, 1, 3, 3]}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "dense"], ["y"], name="first", pads=[1] * 4),
            helper.make_node("Conv", ["y", "depthwise"], ["z"], name="second", pads=[1] * 4, group=64),
        ],
        "two",
        [value("x", TensorProto.FLOAT, shape)],
        [value("z", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor(n, TensorProto.FLOAT, s, bytes(4 * 64 * s[1] * 9), raw=True)
            for n, s in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(model)
    saved = time_saved(model, {"dense": ["first"], "depthwise": ["second"]})
    assert sum(saved.values()) == pytest.approx(1)
    assert 64 > saved["dense"] / saved["depthwise"] > 4
