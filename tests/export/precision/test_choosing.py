"""The choice of layers is held to by the file itself."""

import types

import numpy as np
import pytest

from segopt.errors import ExportError
from segopt_export.precision.choosing import Made, choose

LAYERS = [f"layer{i}" for i in range(12)]


class Comparison:
    """Six layers lose little where they are tried, and more in the file; others lose much."""

    def __init__(self, times):
        self.times = times
        self.groups = {name: [name] for name in LAYERS}
        self.saved = {name: 1 / len(LAYERS) for name in LAYERS}
        self.images = [np.zeros((1, 2, 2, 3), dtype=np.uint8)]

    def says_something(self):
        return True

    def lost(self, on):
        return 0.05 * len(on) if len(on) <= 6 else 2.0

    lost_alone = lost

    def lost_by(self, model):
        return self.times * 0.05 * model.layers


def chosen(times):
    made = []

    def make(left_out):
        made.append(len(LAYERS) - len(left_out))
        return Made(types.SimpleNamespace(layers=made[-1]), 0)

    return made, lambda: choose(Comparison(times), 1.0, make)


def test_where_the_file_loses_too_much_fewer_layers_are_taken():
    made, run = chosen(5)
    within = run()
    assert within.choice.lost <= 1.0
    assert made == sorted(set(made), reverse=True)
    assert len(made) > 1


def test_no_file_is_made_twice_and_the_last_is_named_where_none_is_within_the_bound():
    made, run = chosen(100)
    with pytest.raises(ExportError, match=r"the file with fewest loses"):
        run()
    assert len(made) == len(set(made)) > 1
