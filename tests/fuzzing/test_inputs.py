"""Seeded inputs at random of every class: a right answer or one clear line, whatever is in them."""

import sys

import pytest

from fuzzing.campaign import run_class
from fuzzing.classes import CLASSES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits of a process, and looks at /proc"),
]


def needs_what_is_installed(name):
    if name == "signal to build":
        pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in CLASSES])
def test_every_case_is_right_or_one_line(name, tmp_path):
    needs_what_is_installed(name)
    cases = CLASSES[name].cases
    tally = run_class(name, "0", lambda tally: tally.cases < cases, tmp_path)
    assert tally.faults == []
    assert tally.right + tally.refused == tally.cases == cases
    if not name.startswith("signal"):
        # Damage that is always seen at once tries nothing of what lies behind.
        assert tally.right > cases // 50
        # Where one of several annotations is damaged, the others are evaluated.
        assert tally.refused > 0 or name == "annotation PNG"
