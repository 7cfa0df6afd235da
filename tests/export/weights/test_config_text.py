"""Plain values are read from a configuration's text; anything else in it is left alone."""

import time

import pytest

from segopt_export.weights.config_text import MAX_LENGTH, UNKNOWN, read_config, value_at


def test_values_are_read():
    config = read_config(
        "_base_ = ['a', \"b\"\n  'c']\nmodel = dict(  # comment\n    type='X', mean=[1., -2e-3, .5],\n"
        "    sizes=[(4, 8), (1, )], on=True, off=None, by={'a': 1, 'b': dict()},\n)\nx = -3\n"
    )
    assert config == {
        "_base_": ["a", "bc"],
        "model": {
            "type": "X",
            "mean": [1.0, -0.002, 0.5],
            "sizes": [[4, 8], [1]],
            "on": True,
            "off": None,
            "by": {"a": 1, "b": {}},
        },
        "x": -3,
    }
    assert value_at(config, "model.by.a") == 1
    assert value_at(config, "model.mean.a") is None
    assert value_at(config, "model.none.such") is None


@pytest.mark.parametrize(
    "value",
    [
        "f(1, [2])",
        "2 ** 3",
        "x.y",
        "[i for i in y]",
        "lambda: 1",
        "f'{x}'",
        "b'x'",
        "1j",
        "0x1",
        "'\\x41'",
        "-'a'",
    ],
)
def test_what_is_computed_is_unknown_and_the_rest_is_read(value):
    config = read_config(f"a = dict(b={value}, c=1)\nd = 2\n")
    assert config["d"] == 2
    if config["a"] is not UNKNOWN:
        found = config["a"]["b"]
        assert found is UNKNOWN or found == [UNKNOWN]
        assert config["a"]["c"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00",
        "a = (1",
        "a = dict(",
        "-" * (MAX_LENGTH - 10),
        "a = " + "[" * (MAX_LENGTH - 10),
        "a = " + "1+" * 60_000 + "1",
        "a = " + "dict(a=" * 500,
        "a = " + "x" * MAX_LENGTH,
        "a = " + "9" * 5000,
        "def f(:\n",
        "  a = 1\n b = 2\n",
    ],
)
def test_no_text_does_harm(text):
    began = time.perf_counter()
    assert isinstance(read_config(text), dict)
    assert time.perf_counter() - began < 20
