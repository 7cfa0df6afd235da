"""Builds on a real GPU: what the built engine says of itself, and timing caches, which only TensorRT has."""

import pytest

from segopt.builder.build import build
from segopt.builder.options import BuildOptions
from segopt.tensorrt.flavor import builder_here

needs_tensorrt = pytest.mark.skipif(builder_here() != "tensorrt", reason="TensorRT itself is not installed")


def test_the_plan_loads_where_it_was_built(make_model, tmp_path):
    built = build(make_model("semantic").onnx, BuildOptions(output=tmp_path / "a.plan"))
    assert built.runs_here
    assert not any("does not load" in note for note in built.notes)


@needs_tensorrt
def test_the_engine_says_that_its_layers_are_in_half(make_model, tmp_path):
    """No note: the inspector told of the layers, and none of the half ones had become FP32."""
    built = build(make_model("panoptic").onnx, BuildOptions(output=tmp_path / "a.plan"))
    assert built.notes == []


@needs_tensorrt
def test_a_timing_cache_is_kept_and_taken_up_again(make_model, tmp_path):
    model = make_model("semantic").onnx
    options = BuildOptions(output=tmp_path / "a.plan", timing_cache=tmp_path / "times")
    sizes = []
    for _ in range(2):
        assert build(model, options).notes == []
        (cache,) = (tmp_path / "times").iterdir()
        sizes.append(cache.stat().st_size)
    assert 0 < sizes[0] <= sizes[1]
