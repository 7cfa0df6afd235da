"""Plans on a real GPU: right, the same by every way of launching, without leaks, and clear where memory ends."""

import threading

import numpy as np
import pytest

import segopt
from segopt import cuda
from segopt.backends.onnxruntime import OnnxRuntimeBackend
from segopt.backends.tensorrt import TensorRtBackend
from segopt.decode import decode_detections
from segopt.errors import EngineError
from segopt.letterbox import Letterbox

MODES = ["semantic", "instance", "panoptic"]
MIB = 2**20


def overlap(one, other):
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    return shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


def matched_share(found, expected, canvas):
    """Share of the expected detections above 0.3 that have one of their own label, at the same place."""
    sure = decode_detections(expected, 0, Letterbox.fit(canvas, canvas), 0.3)
    all_found = decode_detections(found, 0, Letterbox.fit(canvas, canvas), 0.25)
    free, matched = set(range(len(all_found.scores))), 0
    for box, label in zip(sure.boxes, sure.labels, strict=True):
        same = [i for i in free if all_found.labels[i] == label and overlap(box, all_found.boxes[i]) >= 0.98]
        if same:
            free.remove(same[0])
            matched += 1
    return matched, len(sure.scores)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("mode", MODES)
def test_a_plan_answers_as_onnx_runtime_does_on_the_cpu(make_model, images, mode, precision):
    model = make_model(mode, precision)
    on_cpu, on_gpu = OnnxRuntimeBackend(model.onnx, "cpu"), TensorRtBackend(model.plan)
    equal, matched, expected_count = [], 0, 0
    for image in images:
        expected, found = on_cpu.infer({"image": image}), on_gpu.infer({"image": image})
        if "semantic" in expected:
            equal.append((expected["semantic"] == found["semantic"]).mean())
        if "boxes" in expected:
            assert found["converged"].all()
            hits, count = matched_share(found, expected, image.shape[1:3])
            matched, expected_count = matched + hits, expected_count + count
    on_gpu.close()
    assert mode == "instance" or np.mean(equal) >= 0.995
    assert mode == "semantic" or matched >= 0.97 * expected_count > 0


@pytest.mark.parametrize("mode", MODES)
def test_graphs_and_overlap_change_no_bit(make_model, images, mode):
    model = make_model(mode)
    plain, graphs = TensorRtBackend(model.plan, use_graphs=False), TensorRtBackend(model.plan, use_graphs=True)
    expected = [plain.infer({"image": image}) for image in images]
    for backend in (plain, graphs):
        started = [backend.submit({"image": image}) for image in images]
        for pending, outputs in zip(started, expected, strict=True):
            for name, array in outputs.items():
                np.testing.assert_array_equal(pending.result()[name], array, err_msg=name)
    assert graphs.graphs in ("captured", "own")
    plain.close()
    graphs.close()


def noise(gpu):
    """Bytes of memory that come and go by themselves: on an integrated GPU with every process of the system."""
    return 256 * MIB if gpu.integrated else 0


def test_loading_again_and_again_takes_no_memory(gpu, make_model, images):
    model = make_model("panoptic")

    def load_and_run():
        with segopt.load(model.plan) as segmenter:
            for _ in range(3):
                segmenter.backend.submit({"image": images[0]})

    for _ in range(3):
        load_and_run()
    before, _ = cuda.device_memory()
    for _ in range(50):
        load_and_run()
    after, _ = cuda.device_memory()
    assert before - after < 8 * MIB + noise(gpu)


def test_running_again_and_again_takes_no_memory(gpu, make_model, images):
    with segopt.load(make_model("semantic").plan) as segmenter:
        segmenter.backend.infer({"image": images[0]})
        before, _ = cuda.device_memory()
        for i in range(2000):
            segmenter.backend.infer({"image": images[i % len(images)]})
        after, _ = cuda.device_memory()
    assert before - after < MIB + noise(gpu)


def test_two_plans_run_in_two_threads_at_once(make_model, images):
    models = [make_model("semantic"), make_model("instance")]
    expected = []
    for model in models:
        with segopt.load(model.plan) as segmenter:
            expected.append([segmenter.backend.infer({"image": image}) for image in images])
    errors = []

    def work(model, answers):
        try:
            # Loading captures a graph while the other thread runs.
            for _ in range(3):
                with segopt.load(model.plan) as segmenter:
                    for _ in range(20):
                        for image, outputs in zip(images, answers, strict=True):
                            found = segmenter.backend.infer({"image": image})
                            for name, array in outputs.items():
                                np.testing.assert_array_equal(found[name], array, err_msg=name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(models, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_full_gpu_is_one_line_and_frees_what_was_taken(gpu, make_model, images):
    if gpu.integrated:
        pytest.skip("the GPU's memory is the system's: to fill it is to stop the machine")
    model = make_model("panoptic")
    segopt.load(model.plan).close()
    taken = []
    try:
        for size in (2**30, 2**26, 2**22):
            while True:
                try:
                    taken.append(cuda.DeviceArray((size,), "u1"))
                except cuda.CudaMemoryError:
                    break
        with pytest.raises(EngineError, match="memory") as error:
            segopt.load(model.plan)
        assert "\n" not in str(error.value)
    finally:
        for array in taken:
            array.close()
    with segopt.load(model.plan) as segmenter:
        assert segmenter.backend.infer({"image": images[0]})["semantic"].any()


@pytest.mark.parametrize("mode", MODES)
def test_onnx_runtime_answers_the_same_with_tensorrt(make_model, images, mode):
    model = make_model(mode, "fp32")
    try:
        on_gpu = OnnxRuntimeBackend(model.onnx, "tensorrt")
    except EngineError as error:
        pytest.skip(str(error))
    on_cpu = OnnxRuntimeBackend(model.onnx, "cpu")
    for image in images:
        expected, found = on_cpu.infer({"image": image}), on_gpu.infer({"image": image})
        if "semantic" in expected:
            assert (expected["semantic"] == found["semantic"]).mean() >= 0.995
        if "boxes" in expected:
            matched, count = matched_share(found, expected, image.shape[1:3])
            assert matched >= 0.97 * count
