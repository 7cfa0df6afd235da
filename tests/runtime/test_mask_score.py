"""A file whose masks are computed in a loop is asked for those alone that a view looks at."""

import importlib.util  # noqa: F401 (conditions of tests name it)

import numpy as np
import pytest

import segopt
import tiny
from segopt.backends import open_backend
from segopt.backends.onnxruntime import OnnxRuntimeBackend
from segopt.backends.openvino_compile import import_openvino, prepare_masks
from segopt.errors import EngineError
from segopt.model.tensors import MASK_LOOP, MASK_SCORE

SLOTS = 20
DETECTIONS = [((2.0 * i, 2.0, 2.0 * i + 8, 30.0), round(0.97 - 0.05 * i, 2), 1 + i % 2) for i in range(18)]
DEVICES = [
    "cpu",
    pytest.param("openvino", marks=pytest.mark.skipif("not importlib.util.find_spec('openvino')")),
]


@pytest.fixture(params=["instance", "panoptic"])
def model(request, tmp_path):
    return tiny.looped_engine(tmp_path / f"{request.param}.onnx", request.param, DETECTIONS, SLOTS)


def whole(model, tmp_path):
    """The same file without the loop."""
    make = tiny.panoptic_engine if "panoptic" in model.name else tiny.instance_engine
    return make(tmp_path / "whole.onnx", detections=DETECTIONS, slots=SLOTS)


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("score", [None, 0.0, 0.5, 1.0])
def test_results_are_those_of_a_file_that_computes_all_masks(model, tmp_path, frame, device, score):
    with (
        segopt.load(model, device, score) as loop,
        segopt.load(whole(model, tmp_path), "cpu", score) as plain,
    ):
        assert loop(frame) == plain(frame)
        assert MASK_SCORE in loop.backend.optional
        assert MASK_SCORE not in loop.backend.inputs


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_masks_below_the_score_are_left_out(model, frame, device, hint):
    backend = open_backend(model, device, hint=hint)
    image = {"image": frame[None]}

    def count(**given):
        outputs = backend.submit({**image, **given}).result()
        return int((outputs["masks"].reshape(SLOTS, -1).max(axis=1) > 0).sum())

    # Eight are computed at a time. Of a loop without a turn OpenVINO gives what was there.
    assert count() == 18
    assert [count(mask_score=np.array(s, np.float32)) for s in (0.0, 0.9, 0.5, 0.0)] == [18, 8, 16, 18]
    if device == "cpu":
        assert count(mask_score=np.array(0.99, np.float32)) == 0
    with pytest.raises(EngineError, match=r"takes mask_score as float32 \[\], and was given float64 \[\]"):
        backend.infer({**image, MASK_SCORE: np.array(0.5)})
    backend.close()


@pytest.mark.parametrize(
    ("mode", "score", "expected"), [("panoptic", 0.3, 0.3), ("instance", None, 0.5), ("semantic", 0.3, 2.0)]
)
def test_a_view_asks_for_the_masks_that_it_looks_at(tmp_path, frame, mode, score, expected):
    with segopt.load(
        tiny.looped_engine(tmp_path / "panoptic.onnx", "panoptic", DETECTIONS, SLOTS), "cpu", score, mode=mode
    ) as segmenter:
        assert segmenter.mask_score == expected
        prepared = segmenter.prepare([frame])
        masks = segmenter.infer(prepared)["masks"][0].reshape(SLOTS, -1).max(axis=1)
        wanted = sum(s >= expected for _, s, _ in DETECTIONS)
        assert (masks > 0).sum() == min(18, -(-wanted // 8) * 8)
        # Several views of one inference.
        assert (segmenter.infer(prepared, mask_score=0.0)["masks"].max(axis=(2, 3)) > 0).sum() == 18


def test_values_that_are_bound_have_all_masks(model, frame):
    backend = OnnxRuntimeBackend(model, "cpu", bind=True)
    assert backend.optional == {}
    assert (backend.infer({"image": frame[None]})["masks"].max(axis=(2, 3)) > 0).sum() == 18


def test_a_device_that_wants_to_know_how_often_a_loop_runs_has_it_run_for_all_slots(model, frame):
    pytest.importorskip("openvino")
    ov = import_openvino()
    core = ov.Core()
    graph = core.read_model(str(model))
    prepare_masks(ov, graph, fixed=True)
    loop = next(node for node in graph.get_ops() if node.get_friendly_name() == MASK_LOOP)
    assert loop.input_value(0).get_node().get_type_name() == "Constant"
    outputs = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([frame[None]])
    assert (outputs["masks"].max(axis=(2, 3)) > 0).sum() == 18
