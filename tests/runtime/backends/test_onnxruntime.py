"""ONNX Runtime as a backend: arrays or bound values, and which providers are asked for."""

import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import tiny
from segopt.backends import providers
from segopt.backends.onnxruntime import OnnxRuntimeBackend
from segopt.device import parse_device
from segopt.driver import Driver, Gpu
from segopt.errors import EngineError

GPU_BUILD = [providers.TENSORRT, providers.CUDA, providers.CPU]


def images(count=3):
    return [np.random.default_rng(i).integers(0, 256, (1, *tiny.CANVAS, 3), np.uint8) for i in range(count)]


def an_onnxruntime(*available):
    """The part of the module that says what was compiled in."""
    return types.SimpleNamespace(get_available_providers=lambda: list(available))


def test_bound_values_give_what_arrays_give(panoptic_engine):
    bound, plain = (OnnxRuntimeBackend(panoptic_engine, "cpu", bind=bind) for bind in (True, False))
    for image in images():
        found, expected = bound.infer({"image": image}), plain.infer({"image": image})
        assert set(found) == set(expected)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("bind", [True, False])
def test_results_belong_to_the_caller(semantic_engine, bind):
    backend = OnnxRuntimeBackend(semantic_engine, "cpu", bind=bind)
    bright = np.full((1, *tiny.CANVAS, 3), 255, np.uint8)
    first = backend.infer({"image": bright})["semantic"]
    backend.infer({"image": np.zeros_like(bright)})
    backend.close()
    assert first.min() == 1
    first.fill(9)


@pytest.mark.parametrize("bind", [True, False])
def test_inputs_need_not_be_contiguous(semantic_engine, bind):
    backend = OnnxRuntimeBackend(semantic_engine, "cpu", bind=bind)
    mirrored = images(1)[0][:, :, ::-1]
    expected = backend.infer({"image": mirrored.copy()})
    np.testing.assert_array_equal(backend.infer({"image": mirrored})["semantic"], expected["semantic"])


@pytest.mark.parametrize("bind", [True, False])
def test_inputs_that_do_not_fit_are_refused(semantic_engine, bind):
    backend = OnnxRuntimeBackend(semantic_engine, "cpu", bind=bind)
    with pytest.raises(EngineError, match=r"takes image as uint8 \[1, 48, 64, 3\], and was given float32"):
        backend.infer({"image": images(1)[0].astype(np.float32)})
    with pytest.raises(EngineError, match="was given none"):
        backend.infer({})


@pytest.mark.parametrize("bind", [True, False])
def test_use_after_close_is_one_line(semantic_engine, bind):
    backend = OnnxRuntimeBackend(semantic_engine, "cpu", bind=bind)
    backend.close()
    backend.close()
    with pytest.raises(EngineError, match=r"^\S+semantic\.onnx: this model was closed; load it again$"):
        backend.infer({"image": images(1)[0]})


def test_a_backend_that_cannot_work_ahead_has_ended_when_it_is_submitted(semantic_engine):
    backend = OnnxRuntimeBackend(semantic_engine, "cpu")
    assert backend.depth == 1
    image = images(1)[0]
    pending = backend.submit({"image": image})
    backend.close()
    assert pending.result()["semantic"].shape == image.shape[:3]


@pytest.mark.parametrize(
    ("device", "available", "wanted"),
    [
        ("cpu", GPU_BUILD, [providers.CPU]),
        ("auto", GPU_BUILD, [providers.CUDA, providers.CPU]),
        ("auto", [providers.CPU], [providers.CPU]),
        ("cuda", GPU_BUILD, [providers.CUDA, providers.CPU]),
        ("tensorrt", GPU_BUILD, GPU_BUILD),
    ],
)
def test_a_device_asks_for_its_providers(semantic_engine, device, available, wanted):
    found = providers.wanted_providers(an_onnxruntime(*available), parse_device(device), semantic_engine)
    assert [name for name, _ in found] == wanted


@pytest.mark.parametrize(("device", "title"), [("cuda", "CUDA"), ("tensorrt", "TensorRT")])
def test_a_device_that_is_insisted_on_is_never_replaced(semantic_engine, device, title):
    with pytest.raises(EngineError, match=rf"has no {title} provider; .*segopt\[gpu\].*--device cpu"):
        providers.wanted_providers(an_onnxruntime(providers.CPU), parse_device(device), semantic_engine)
    with pytest.raises(EngineError, match=rf"could not start its {title} provider .*`segopt doctor`"):
        providers.check_provider(providers.CPU, parse_device(device), semantic_engine)
    providers.check_provider(providers.CPU, parse_device("auto"), semantic_engine)


def test_a_gpu_that_there_is_not_is_told_by_its_number(monkeypatch, semantic_engine):
    one = Driver("580", 13000, (Gpu("NVIDIA H200", "9.0"),))
    monkeypatch.setattr(providers, "find_driver", lambda: one)
    with pytest.raises(EngineError, match=r"there is no GPU 1 for --device cuda:1; CUDA sees 1"):
        providers.check_provider(providers.CPU, parse_device("cuda:1"), semantic_engine)


def test_what_onnx_runtime_prints_of_a_provider_stays_off_the_screen(monkeypatch, semantic_engine, capfd):
    """Its session prints a banner where a provider does not start, and falls back."""
    real = onnxruntime.InferenceSession

    def noisy(*arguments, **options):
        print("*************** EP Error ***************")
        return real(*arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noisy)
    OnnxRuntimeBackend(semantic_engine, "cpu").close()
    assert capfd.readouterr() == ("", "")


def test_engines_that_the_tensorrt_provider_keeps_are_of_this_content_of_the_file(tmp_path):
    model = tiny.semantic_engine(tmp_path / "model.onnx")

    def folder():
        options = dict(providers.wanted_providers(an_onnxruntime(*GPU_BUILD), parse_device("tensorrt"), model))
        return options[providers.TENSORRT]["trt_engine_cache_path"]

    first = folder()
    assert first == folder()
    assert first.startswith(f"{model}.trt")
    assert Path(first).is_dir()
    tiny.panoptic_engine(model)
    assert folder() != first


def test_engines_are_not_kept_where_no_folder_can_be_made(semantic_engine):
    semantic_engine.with_name("semantic.onnx.trt").write_bytes(b"a file")
    options = dict(
        providers.wanted_providers(an_onnxruntime(*GPU_BUILD), parse_device("tensorrt"), semantic_engine)
    )
    assert options[providers.TENSORRT] == {"device_id": "0"}


def test_a_gpus_number_goes_to_its_providers(semantic_engine):
    options = dict(
        providers.wanted_providers(an_onnxruntime(*GPU_BUILD), parse_device("tensorrt:2"), semantic_engine)
    )
    assert [options[name].get("device_id") for name in GPU_BUILD] == ["2", "2", None]


def test_libraries_that_do_not_load_are_left_to_the_session(capsys):
    def preload_dlls():
        print("Failed to load libcudnn.so.9")
        raise RuntimeError("no such directory")

    ort = types.SimpleNamespace(preload_dlls=preload_dlls)
    providers.preload_libraries(ort, parse_device("cuda"))
    providers.preload_libraries(types.SimpleNamespace(), parse_device("tensorrt"))
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(not hasattr(onnxruntime, "preload_dlls"), reason="this ONNX Runtime has no preload_dlls")
def test_preloading_needs_no_gpu():
    providers.preload_libraries(onnxruntime, parse_device("cuda"))


def test_threads_do_not_spin_while_nothing_runs(panoptic_engine):
    def idle_cpu_seconds():
        backend = OnnxRuntimeBackend(panoptic_engine, "cpu")
        spent = []
        for image in images():
            backend.infer({"image": image})
            before = time.process_time()
            time.sleep(0.06)
            spent.append(time.process_time() - before)
        return sum(spent)

    # The least of a few: other tests may have left threads that still work.
    assert min(idle_cpu_seconds() for _ in range(3)) < 0.02


def test_what_the_first_run_took_is_not_kept_beside_what_the_later_ones_take(tmp_path):
    wide = 4 * 2**20
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Expand", ["image", "shape"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Neg", ["c"], ["d"]),
        helper.make_node("ReduceMax", ["d"], ["found"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("image", kinds.FLOAT, [1])],
        [helper.make_tensor_value_info("found", kinds.FLOAT, [])],
        [onnx.numpy_helper.from_array(np.array([wide]), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "wide.onnx")
    code = """
import re, sys
from pathlib import Path
import numpy as np
from segopt.backends.onnxruntime import OnnxRuntimeBackend

def held():
    return 1024 * int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

backend = OnnxRuntimeBackend(Path(sys.argv[1]), "cpu")
before = held()
for _ in range(4):
    backend.infer({"image": np.ones(1, np.float32)})
print(held() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "wide.onnx"], capture_output=True, text=True, check=True
    )
    # ONNX Runtime lays out four tensors; with the pieces of the first run it would hold six.
    assert int(done.stdout) < 5 * 4 * wide
