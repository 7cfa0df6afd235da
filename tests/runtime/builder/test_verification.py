"""A plan is proven before it has its name: on this GPU it answers as its ONNX file does on the CPU."""

import dataclasses
import sys

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import tiny
from segopt.builder.trial import try_run
from segopt.builder.verification import verify
from segopt.errors import EngineError
from segopt.model import sidecar
from segopt.model.reading import read_card
from segopt.tensorrt import messages

pytest.importorskip("tensorrt_rtx")
pytest.importorskip("cuda.bindings.runtime")
from simulated_gpu import SimulatedCuda, SimulatedTensorRT, put_in


@pytest.fixture
def prove(monkeypatch, tmp_path):
    """Verifies a "plan" of one ONNX file that the simulated GPU runs as another one."""

    def run(model, compiled, *, precision="fp32", pictures=None):
        gpu = SimulatedCuda()
        put_in(monkeypatch, gpu)
        monkeypatch.setitem(sys.modules, "tensorrt", SimulatedTensorRT(gpu, compiled, version="10.3.0"))
        monkeypatch.setattr(messages, "_LOGS", {})
        record = tiny.plan_record(model=model.name)
        card = dataclasses.replace(read_card(model), precision=precision)
        before = sorted(tmp_path.iterdir())
        try:
            return verify(model, b"plan", sidecar.Sidecar(card, record), pictures, try_run(model, card))
        finally:
            assert sorted(tmp_path.iterdir()) == before

    return run


def miscompiled(model, name, change):
    """The same network with other values in one constant: what a wrong kernel amounts to."""
    graph = onnx.load(model)
    for tensor in graph.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    for node in graph.graph.node:
        if node.output[0] == name:
            value = node.attribute[0].t
            value.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(value)), value.name))
    path = model.with_name(f"miscompiled-{name}.onnx")
    onnx.save(graph, path)
    return path


def test_a_plan_that_answers_the_same_is_good_and_the_figures_are_told(prove, panoptic_engine):
    (note,) = prove(panoptic_engine, panoptic_engine)
    assert "100.000% of pixels equal" in note
    assert "3 of 3 the same" in note


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("middle", lambda value: value + np.float32(60), "label map"),
        ("boxes", lambda value: value + np.float32(8), "detections"),
        ("labels", lambda value: 4 - value, "detections"),
        ("converged", lambda value: value * 0, "suppression"),
    ],
)
def test_a_miscompiled_plan_is_refused_and_the_output_named(prove, panoptic_engine, precision, name, change, told):
    with pytest.raises(EngineError, match=told) as error:
        prove(panoptic_engine, miscompiled(panoptic_engine, name, change), precision=precision)
    message = str(error.value)
    assert "\n" not in message
    assert "tensorrt 10.3.0" in message
    assert "--no-verify" in message


def test_numbers_that_are_none_are_refused(prove, panoptic_engine):
    with pytest.raises(EngineError, match="finite"):
        prove(panoptic_engine, miscompiled(panoptic_engine, "masks", lambda value: value * np.float32("nan")))


def test_a_network_that_finds_nothing_proves_nothing_and_says_so(prove, tmp_path):
    model = tiny.instance_engine(tmp_path / "instance.onnx", detections=())
    (note,) = prove(model, model)
    assert "proves nothing" in note


def test_pictures_of_the_user_are_compared_on(prove, tmp_path, semantic_engine):
    """Dark pictures show nothing of a wrong threshold; one with a gray half does."""
    wrong = miscompiled(semantic_engine, "middle", lambda value: value + np.float32(20))
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "dark.png"), np.zeros((*tiny.CANVAS, 3), np.uint8))
    (note,) = prove(semantic_engine, wrong, pictures=folder)
    assert "on 1 picture of" in note
    gray = np.zeros((*tiny.CANVAS, 3), np.uint8)
    gray[:, :32] = 140
    cv2.imwrite(str(folder / "gray.png"), gray)
    with pytest.raises(EngineError, match="label map"):
        prove(semantic_engine, wrong, pictures=folder)
