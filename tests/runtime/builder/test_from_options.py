"""Plain options become the builder's own."""

from pathlib import Path

import pytest

import segopt
import tiny
from segopt.builder.from_options import build_options
from segopt.builder.options import BuildOptions
from segopt.errors import CardError, UsageError


def test_without_options_it_is_the_builders_default():
    assert build_options() == BuildOptions()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"workspace": "512MiB"}, {"workspace": 512 << 20}),
        ({"workspace": " 2 gib"}, {"workspace": 2 << 30}),
        ({"workspace": 1 << 20}, {"workspace": 1 << 20}),
        ({"compute_capabilities": "8.9, 8.6,8.9"}, {"compute_capabilities": ("8.9", "8.6")}),
        ({"compute_capabilities": ["8.9", "8.6"]}, {"compute_capabilities": ("8.9", "8.6")}),
        ({"compute_capabilities": (8.9, 12.0)}, {"compute_capabilities": ("8.9", "12.0")}),
        ({"output": "a.plan", "timing_cache": Path("t")}, {"output": Path("a.plan"), "timing_cache": Path("t")}),
        (
            {"hardware_compatible": True, "optimization_level": 2, "tf32": True},
            {"hardware_compatible": True, "optimization_level": 2, "tf32": True},
        ),
    ],
)
def test_texts_and_numbers_are_read(given, found):
    assert build_options(**given) == BuildOptions(**found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workspace": "2GB"}, "--workspace 2GB is no size"),
        ({"compute_capabilities": "89"}, "--compute-capability 89 is no list"),
        ({"compute_capabilities": ""}, "--compute-capability  is no list"),
    ],
)
def test_what_is_no_size_or_list_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        build_options(**options)


def test_a_file_that_is_missing_is_named():
    with pytest.raises(CardError, match=r"nowhere\.onnx"):
        segopt.build("nowhere.onnx")


def test_a_plan_with_its_sidecar_is_built_from_plain_options(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
    engine = tiny.semantic_engine(tmp_path / "street.onnx")
    built = segopt.build(
        str(engine), runtime="tensorrt-rtx", output=str(tmp_path / "p.plan"), compute_capabilities="8.9"
    )
    assert isinstance(built, segopt.Built)
    assert built.path == tmp_path / "p.plan"
    assert built.path.stat().st_size == built.size
    assert built.sidecar.plan.compute_capabilities == ("8.9",)
    assert (tmp_path / "p.plan.json").exists()
