"""``--device auto`` without an NVIDIA GPU: the faster of two runtimes, timed once, and said."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import segopt
import tiny
from segopt.backends import choice, open_backend
from segopt.backends.choice import Times
from segopt.driver import Driver, Gpu
from segopt.errors import EngineError

pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install 'segopt[openvino]')")


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGOPT_CACHE", str(tmp_path / "kept"))
    monkeypatch.delenv("SEGOPT_AUTO_OPENVINO")
    monkeypatch.setattr(choice, "find_driver", lambda: Driver(""))
    # No test looks at how long something took.
    monkeypatch.setattr(choice, "_ROUNDS", (1, 2))
    return tmp_path / "kept"


@pytest.fixture
def model(tmp_path):
    return tiny.panoptic_engine(tmp_path / "panoptic.onnx")


def times_in(kept):
    (path,) = kept.glob("device-auto-*")
    return path


def set_times(path, kept, onnxruntime, openvino, reason=""):
    with segopt.load(path):
        pass
    name = times_in(kept).stem
    times = {"onnxruntime": onnxruntime, "openvino": openvino, "reason": reason}
    choice.cache.keep(name, json.dumps(times).encode())


def test_both_are_timed_once_and_the_faster_one_is_taken(model, kept):
    with segopt.load(model) as first:
        (note,) = first.notes
    times = choice.Times(**json.loads(choice.cache.read(times_in(kept).stem)))
    assert ("OpenVINO" in first.backend.name) == times.openvino_is_faster
    assert f"device auto takes {first.backend.name}: ONNX Runtime {times.onnxruntime:.1f} ms, OpenVINO " in note
    assert note.endswith("(measured now)")
    with segopt.load(model) as again:
        assert again.notes[0] == note.replace("now", "earlier")


@pytest.mark.parametrize(
    ("openvino", "taken"), [(1.0, "OpenVINO"), (9.4, "OpenVINO"), (9.6, "ONNX Runtime"), (None, "ONNX Runtime")]
)
def test_a_draw_is_onnx_runtimes(model, kept, openvino, taken):
    set_times(model, kept, 10.0, openvino, "does not run it")
    with segopt.load(model) as segmenter:
        assert segmenter.backend.name.startswith(taken)
        assert "ONNX Runtime 10.0 ms, OpenVINO" in segmenter.notes[0]


def test_another_file_and_other_threads_are_timed_anew(model, kept, tmp_path):
    with segopt.load(model), segopt.load(model, threads=1), segopt.load(model, threads=1):
        pass
    with segopt.load(tiny.semantic_engine(tmp_path / "semantic.onnx")):
        pass
    assert len(list(kept.glob("device-auto-*"))) == 3


@pytest.mark.parametrize("damaged", [b"{", b"[1, 2]", b'{"onnxruntime": 1}', b'{"speed": 3}'])
def test_damaged_times_are_measured_again(model, kept, damaged):
    with segopt.load(model):
        pass
    choice.cache.keep(times_in(kept).stem, damaged)
    with segopt.load(model) as segmenter:
        assert "(measured now)" in segmenter.notes[0]


def test_one_that_answers_otherwise_is_not_taken(model, monkeypatch):
    class Liar(open_backend(model, "openvino").__class__):
        def infer(self, inputs):
            outputs = super().infer(inputs)
            outputs["semantic"] = 1 - outputs["semantic"]
            return outputs

    monkeypatch.setattr("segopt.backends.openvino.OpenVinoBackend", Liar)
    with segopt.load(model) as segmenter:
        assert "OpenVINO gives another answer" in segmenter.notes[0]
        assert "ONNX Runtime" in segmenter.backend.name


def test_one_that_does_not_load_is_not_taken(model, monkeypatch):
    def fails(*_arguments):
        raise EngineError("no")

    monkeypatch.setattr("segopt.backends.openvino.OpenVinoBackend", fails)
    with segopt.load(model) as segmenter:
        assert "OpenVINO does not load it" in segmenter.notes[0]


def without_choice(model):
    with segopt.load(model) as segmenter:
        assert segmenter.notes == ()
        assert "ONNX Runtime" in segmenter.backend.name
        assert segmenter(np.zeros((48, 64, 3), np.uint8)) is not None


def test_switched_off_nothing_is_timed(model, kept, monkeypatch):
    monkeypatch.setenv("SEGOPT_AUTO_OPENVINO", "off")
    without_choice(model)
    assert not kept.exists()


def test_with_an_nvidia_gpu_nothing_is_timed(model, kept, monkeypatch):
    gpu = Gpu("Simulated", "8.9")
    monkeypatch.setattr(choice, "find_driver", lambda: Driver("", gpus=(gpu,)))
    without_choice(model)
    assert not kept.exists()


def test_without_openvino_nothing_is_timed_or_imported(model, kept, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openvino" else find(name))
    monkeypatch.setitem(sys.modules, "openvino", None)
    without_choice(model)
    assert not kept.exists()


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_other_devices_are_taken_as_they_are(model, kept, device):
    with segopt.load(model, device) as segmenter:
        assert ("OpenVINO" in segmenter.backend.name) == (device == "openvino")
    assert list(kept.glob("device-auto-*")) == []


def test_parts_of_one_job_are_not_chosen_by_time(monkeypatch):
    file, plan = Path("street.onnx"), Path("street.plan")
    devices = ("auto", "cpu", "openvino", "cuda:1")
    assert [choice.settled(device, file) for device in devices] == ["cpu", "cpu", "openvino", "cuda:1"]
    assert choice.settled("auto", plan) == "auto"
    monkeypatch.setattr(choice, "find_driver", lambda: Driver("", gpus=(Gpu("Simulated", "8.9"),)))
    assert choice.settled("auto", file) == "auto"


def test_times_that_are_equal_decide_nothing():
    assert not Times(10.0, 10.0).openvino_is_faster
    assert Times(10.0, 5.0).openvino_is_faster


def test_a_run_says_what_was_taken(model, tmp_path, segopt_cli):
    import cv2

    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.full((48, 64, 3), 200, np.uint8))
    status, out, err = segopt_cli("run", "--engine", model, picture, "--output", tmp_path / "out")
    assert status == 0, err
    assert "note: device auto takes " in out
