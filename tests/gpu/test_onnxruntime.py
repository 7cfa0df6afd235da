"""ONNX Runtime's CUDA provider: right, the same with a CUDA graph, in threads, without leaks, in a whole run."""

import json
import threading

import numpy as np
import pytest

from segopt import cuda
from segopt.agreement import bounds_for, compare
from segopt.backends.onnxruntime import OnnxRuntimeBackend
from segopt.errors import EngineError

MODES = ["semantic", "instance", "panoptic"]
MIB = 2**20


@pytest.fixture
def make_file(export_demo):
    """Exports the demo network of a mode; an ONNX Runtime without CUDA skips the test."""

    def make(mode, precision="fp32", target="tensorrt"):
        path = export_demo(mode, precision, target)
        try:
            OnnxRuntimeBackend(path, "cuda").close()
        except EngineError as error:
            pytest.skip(str(error))
        return path

    return make


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("mode", MODES)
def test_it_answers_as_the_cpu_does(make_file, images, mode, precision, target):
    path = make_file(mode, precision, target)
    on_cpu, on_gpu = OnnxRuntimeBackend(path, "cpu"), OnnxRuntimeBackend(path, "cuda")
    expected, found = ([backend.infer({"image": image}) for image in images] for backend in (on_cpu, on_gpu))
    on_gpu.close()
    # The GPU's convolutions round FP32 to TF32's 11 bits, as PyTorch's do: no better than half.
    figures = compare(joined(expected), joined(found), bounds_for("fp16"))
    assert [figure for figure in figures if not figure.good] == []
    assert not any("proves nothing" in figure.text for figure in figures)


@pytest.mark.parametrize("mode", MODES)
def test_a_graph_answers_as_single_launches_do_frame_by_frame(make_file, images, mode):
    path = make_file(mode)
    plain, graph = (OnnxRuntimeBackend(path, "cuda", use_graphs=use) for use in (False, True))
    assert (plain.graphs, graph.graphs) == ("none", "captured")
    for image in [*images, images[0]]:
        expected, found = plain.infer({"image": image}), graph.infer({"image": image})
        figures = compare(joined([expected]), joined([found]), bounds_for("fp32"))
        assert [figure for figure in figures if not figure.good] == []
    plain.close()
    graph.close()


def test_a_model_that_was_loaded_in_one_thread_runs_in_others(make_file, images):
    backend = OnnxRuntimeBackend(make_file("panoptic"), "cuda")
    expected = [backend.infer({"image": image}) for image in images]
    errors = []

    def work():
        try:
            for image, outputs in zip(images, expected, strict=True):
                found = backend.infer({"image": image})
                figures = compare(joined([outputs]), joined([found]), bounds_for("fp32"))
                assert [figure for figure in figures if not figure.good] == []
        except BaseException as error:
            errors.append(error)

    # One after the other: a backend is not called from two threads at once.
    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    backend.close()
    assert errors == []


def test_loading_again_and_again_takes_no_memory(make_file, images):
    path = make_file("semantic")

    def load_and_run():
        backend = OnnxRuntimeBackend(path, "cuda")
        for _ in range(3):
            backend.infer({"image": images[0]})
        backend.close()

    for _ in range(3):
        load_and_run()
    before, _ = cuda.device_memory()
    for _ in range(20):
        load_and_run()
    after, _ = cuda.device_memory()
    assert before - after < 16 * MIB


def test_a_folder_gives_the_same_segments_on_both(make_file, images, segopt_cli, tmp_path):
    import cv2

    path = make_file("panoptic")
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / f"{i}.png"), image[0])
    pictures = {}
    for device in ("cpu", "cuda"):
        output = tmp_path / device
        status, _, err = segopt_cli(
            "run", folder, "--engine", path, "--device", device, "--save", "panoptic", "--output", output
        )
        assert status == 0, err
        documents = json.loads((output / "panoptic.json").read_text())["annotations"]
        pictures[device] = [
            (
                sorted(segment["category_id"] for segment in document["segments_info"]),
                cv2.imread(str(output / "panoptic" / document["file_name"])),
            )
            for document in documents
        ]
    for (categories, on_cpu), (others, on_gpu) in zip(pictures["cpu"], pictures["cuda"], strict=True):
        assert len(set(categories) ^ set(others)) <= 1
        assert (on_cpu == on_gpu).all(axis=2).mean() >= 0.98


def joined(answers):
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
