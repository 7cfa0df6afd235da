"""OpenVINO gives what ONNX Runtime gives, and says in one line what it cannot do."""

import sys

import numpy as np
import pytest

import segopt
import tiny
from segopt.backends import open_backend
from segopt.device import parse_device
from segopt.errors import EngineError, UsageError

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install 'segopt[openvino]')")


MAKERS = {
    "semantic": tiny.semantic_engine,
    "instance": tiny.instance_engine,
    "panoptic": tiny.panoptic_engine,
    "queries": tiny.queries_engine,
}


@pytest.fixture(params=MAKERS)
def model(request, tmp_path):
    return MAKERS[request.param](tmp_path / f"{request.param}.onnx")


def test_results_equal_those_of_onnx_runtime(model):
    with segopt.load(model, device="cpu") as one, segopt.load(model, device="openvino", threads=1) as other:
        frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        assert "OpenVINO" in repr(other)
        assert one(frame) == other(frame)


def test_outputs_belong_to_the_caller(model):
    backend = open_backend(model, "openvino")
    image = {"image": np.zeros(backend.inputs["image"].shape, np.uint8)}
    first = backend.infer(image)
    kept = {name: array.copy() for name, array in first.items()}
    backend.infer({"image": np.full_like(image["image"], 255)})
    assert all(np.array_equal(first[name], kept[name]) for name in first)
    for name, spec in backend.outputs.items():
        assert (first[name].dtype, first[name].shape) == (spec.dtype, spec.shape)
    backend.close()
    backend.close()
    with pytest.raises(EngineError, match="was closed"):
        backend.infer(image)


@pytest.mark.parametrize(
    ("text", "target"),
    [("openvino", "CPU"), ("openvino:CPU", "CPU"), ("openvino:GPU", "GPU"), ("openvino:GPU.1", "GPU.1")],
)
def test_a_device_is_named_as_openvino_names_it(text, target):
    assert (parse_device(text).kind, parse_device(text).target) == ("openvino", target)


@pytest.mark.parametrize("text", ["openvino:", "openvino:TPU", "openvino:gpu", "openvino:GPU.x", "cpu:1"])
def test_other_names_are_refused(text):
    with pytest.raises(UsageError, match=r"is unknown; it is one of .*openvino:NPU"):
        parse_device(text)


@pytest.mark.skipif("NPU" in str(openvino.Core().available_devices), reason="this machine has an NPU")
def test_a_device_that_is_not_there_is_one_line(model):
    with pytest.raises(EngineError, match=r"finds no NPU on this machine; it has CPU$"):
        segopt.load(model, device="openvino:NPU")


def test_without_openvino_the_extra_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=r"pip install 'segopt\[openvino\]'"):
        segopt.load(model, device="openvino")


def test_a_plan_is_not_for_it(tmp_path):
    with pytest.raises(UsageError, match="runs on a GPU alone, NVIDIA's; for --device openvino"):
        open_backend(tmp_path / "street.plan", "openvino")
