"""The TensorRT backend: what it refuses for real, and what it does with a GPU on a simulated one."""

import contextlib
import gc
import inspect
import sys
import threading
import warnings

import cv2
import numpy as np
import pytest

import clips
import segopt
import tiny
from segopt.backends.onnxruntime import OnnxRuntimeBackend
from segopt.builder.build import build
from segopt.builder.options import BuildOptions
from segopt.cuda import calls
from segopt.driver import find_gpu
from segopt.errors import CardError, EngineError, PlanWarning, UsageError
from segopt.model import sidecar
from segopt.model.reading import read_card
from segopt.tensorrt import messages
from segopt.tensorrt.flavor import find_flavor

trt = pytest.importorskip("tensorrt_rtx")
pytest.importorskip("cuda.bindings.runtime")
import simulated_gpu  # noqa: E402
from segopt.backends.tensorrt import TensorRtBackend  # noqa: E402
from simulated_gpu import GIB, SimulatedCuda, SimulatedTensorRT, put_in  # noqa: E402

without_gpu = pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU")
BOTH = pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
MODULES = {"tensorrt": ("tensorrt", "10.3.0"), "tensorrt-rtx": ("tensorrt_rtx", "1.7.1.116")}


def write_plan(model, runtime="tensorrt-rtx", data=b"plan", **changes):
    """A plan beside its model that only a simulated TensorRT can run, with a sidecar that fits it."""
    usual = {"runtime": runtime, "version": MODULES[runtime][1], "options": ("--runtime", runtime)}
    record = tiny.plan_record(data, model=model.name, **{**usual, **changes})
    path = model.with_suffix(".plan")
    sidecar.write(path, data, sidecar.Sidecar(read_card(model), record))
    return path


@pytest.fixture
def install(monkeypatch):
    """Put a simulated GPU and TensorRT in this machine."""

    gpus = []

    def put(model, runtime="tensorrt-rtx", *, memory=GIB, devices=1, integrated=False, **options):
        gpu = SimulatedCuda(memory=memory, devices=devices, integrated=integrated)
        gpus.append(gpu)
        put_in(monkeypatch, gpu)
        name, version = MODULES[runtime]
        tensorrt = SimulatedTensorRT(gpu, model, **{"version": version, **options})
        monkeypatch.setitem(sys.modules, name, tensorrt)
        monkeypatch.setattr(messages, "_LOGS", {})
        return gpu, tensorrt

    yield put
    # What a traceback still refers to must go before its GPU does.
    if any(any(gpu.live.values()) for gpu in gpus):
        gc.collect()


def frames(count, canvas=tiny.CANVAS):
    """Inputs that differ from each other, uint8 [1, H, W, 3]."""
    return [np.random.default_rng(i).integers(0, 256, (1, *canvas, 3), np.uint8) for i in range(count)]


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# Without a GPU.


@without_gpu
def test_a_machine_without_a_gpu_says_so_in_one_line(semantic_engine):
    with pytest.raises(EngineError, match=r"semantic\.plan: .* no NVIDIA driver; .* run semantic\.onnx$") as error:
        segopt.load(write_plan(semantic_engine))
    assert "\n" not in str(error.value)


@without_gpu
def test_the_command_line_says_it_in_one_line_and_writes_nothing(tmp_path, semantic_engine, segopt_cli):
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.zeros((*tiny.CANVAS, 3), np.uint8))
    plan, output = write_plan(semantic_engine), tmp_path / "results"
    status, printed, errors = segopt_cli("run", "--engine", plan, picture, "--output", output)
    assert status == 1
    assert printed == ""
    assert errors.startswith(f"segopt: error: {plan}: this machine has no NVIDIA driver")
    assert errors.count("\n") == 1
    assert not output.exists()


@without_gpu
def test_without_a_driver_tensorrt_rtx_loads_no_plan_and_says_why(semantic_engine):
    built = build(semantic_engine, BuildOptions(runtime="tensorrt-rtx"))
    log, logger = messages.message_log(find_flavor("tensorrt-rtx"))
    log.clear()
    assert trt.Runtime(logger).deserialize_cuda_engine(built.path.read_bytes()) is None
    assert "driver" in log.reason()


def test_a_plan_does_not_run_on_the_cpu(semantic_engine):
    with pytest.raises(UsageError, match="a TensorRT plan runs on a GPU alone"):
        segopt.load(write_plan(semantic_engine), device="cpu")


def test_a_plan_that_is_not_the_sidecars_is_refused_before_anything_else(semantic_engine):
    plan = write_plan(semantic_engine)
    plan.write_bytes(b"plan of another model")
    with pytest.raises(
        CardError, match=r"SHA-256 differs.*segopt build .*semantic\.onnx .*--output .*semantic\.plan"
    ):
        segopt.load(plan)


# What a sidecar says against what the machine has.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "1.6.0.1"}, r"was built with TensorRT-RTX 1\.6\.0\.1 and this machine has 1\.7\.1\.116"),
        ({"version": "1.8.0.1"}, r"was built with TensorRT-RTX 1\.8\.0\.1 and this machine has 1\.7\.1\.116"),
        (
            {"gpu": "Orin", "compute_capabilities": ("8.7",)},
            r"was built for Orin \(compute capability 8\.7\) and this machine has Simulated \(8\.9\)",
        ),
        (
            {"gpu": "", "compute_capabilities": ("12.0", "12.1")},
            r"was built for GPUs \(compute capability 12\.0, 12\.1\) and this machine has Simulated \(8\.9\)",
        ),
    ],
)
def test_a_plan_of_another_machine_ends_with_the_command_that_rebuilds_it(
    semantic_engine, install, changes, message
):
    install(semantic_engine)
    plan = write_plan(semantic_engine, **changes)
    with pytest.raises(EngineError, match=message) as error:
        segopt.load(plan)
    command = f"segopt build {semantic_engine} --runtime tensorrt-rtx --output {plan} --overwrite"
    assert str(error.value).endswith(f": {command}")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_plan_of_another_model_of_gpu_runs_with_a_warning(semantic_engine, install):
    install(semantic_engine, "tensorrt")
    here = {"compute_capabilities": ("8.9",)}
    plan = write_plan(semantic_engine, "tensorrt", gpu="Orin (NVIDIA Jetson AGX Orin)", **here)
    with pytest.warns(
        PlanWarning, match=r"was built on Orin \(.*AGX Orin\) and this machine has Simulated, .*segopt build"
    ):
        segopt.load(plan).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segopt.load(write_plan(semantic_engine, "tensorrt", **here)).close()
        # TensorRT-RTX builds for many GPUs, and names none.
        segopt.load(write_plan(semantic_engine, "tensorrt", gpu="", **here)).close()


def test_the_command_line_says_such_a_warning_in_one_line(semantic_engine, install, segopt_cli, tmp_path):
    install(semantic_engine, "tensorrt")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((*tiny.CANVAS, 3), np.uint8))
    plan = write_plan(semantic_engine, "tensorrt", gpu="Orin")
    status, _, errors = segopt_cli("run", "--engine", plan, tmp_path / "a.png", "--output", tmp_path / "out")
    assert status == 0
    assert next(line for line in errors.splitlines() if "warning" in line).startswith("segopt: warning: ")


def test_a_version_compatible_plan_runs_on_later_versions_alone(semantic_engine, install):
    install(semantic_engine, "tensorrt", version="11.4.1")
    segopt.load(write_plan(semantic_engine, "tensorrt", version_compatible=True)).close()
    with pytest.raises(EngineError, match=r"was built with TensorRT 10\.3\.0 and this machine has 11\.4\.1"):
        segopt.load(write_plan(semantic_engine, "tensorrt"))
    with pytest.raises(EngineError, match=r"was built with TensorRT 11\.5\.0 and this machine has 11\.4\.1"):
        segopt.load(write_plan(semantic_engine, "tensorrt", version_compatible=True, version="11.5.0"))


def test_a_flavor_that_is_not_installed_is_named(semantic_engine, install, monkeypatch):
    install(semantic_engine)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"semantic\.plan: is a plan for tensorrt 10\.3\.0, and .*not installed"):
        segopt.load(write_plan(semantic_engine, "tensorrt"))


def test_a_plan_that_tensorrt_refuses_gives_its_reason_and_the_command(semantic_engine, install):
    install(semantic_engine)
    plan = write_plan(semantic_engine, data=b"no engine")
    with pytest.raises(
        EngineError, match=r"TensorRT-RTX 1\.7\.1\.116 cannot load it \(.*magicTag.*: segopt build"
    ):
        segopt.load(plan)


def test_a_tensorrt_that_does_not_start_is_a_line(semantic_engine, install):
    _, tensorrt = install(semantic_engine)

    def no_runtime(logger):
        logger.log(trt.ILogger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    tensorrt.Runtime = no_runtime
    with pytest.raises(
        EngineError, match=r"semantic\.plan: TensorRT-RTX 1\.7\.1\.116 does not start: .*error: 35; .*driver"
    ):
        segopt.load(write_plan(semantic_engine))


def test_a_plan_whose_tensors_are_not_its_cards_is_refused(semantic_engine, panoptic_engine, install):
    install(semantic_engine)
    with pytest.raises(EngineError, match="its card promises boxes"):
        segopt.load(write_plan(panoptic_engine))


# Inference.


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("use_graphs", [None, True, False])
@pytest.mark.parametrize("engine", [tiny.semantic_engine, tiny.instance_engine, tiny.panoptic_engine])
def test_results_equal_those_of_onnx_runtime(tmp_path, install, runtime, use_graphs, engine):
    model = engine(tmp_path / "model.onnx")
    install(model, runtime)
    expected = OnnxRuntimeBackend(model, "cpu")
    backend = TensorRtBackend(write_plan(model, runtime), use_graphs=use_graphs)
    assert backend.graphs == ("none" if use_graphs is False else "captured")
    assert (backend.inputs, backend.outputs) == (expected.inputs, expected.outputs)
    for image in frames(4):
        assert_same(backend.infer({"image": image}), expected.infer({"image": image}))
    backend.close()


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("use_graphs", [True, False])
def test_results_that_overlap_equal_those_one_by_one(panoptic_engine, install, runtime, use_graphs):
    install(panoptic_engine, runtime)
    backend = TensorRtBackend(write_plan(panoptic_engine, runtime), use_graphs=use_graphs)
    assert backend.depth == 2
    images = frames(7)
    expected = [backend.infer({"image": image}) for image in images]
    # Far more than there are lanes: the oldest are waited for, and keep their results.
    started = [backend.submit({"image": image}) for image in images]
    for pending, outputs in zip(started, expected, strict=True):
        assert_same(pending.result(), outputs)
        assert pending.result() is pending.result()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", MODULES)
def test_an_integrated_gpu_copies_nothing(panoptic_engine, install, runtime):
    images, found = frames(5), {}
    for integrated in (False, True):
        gpu, _ = install(panoptic_engine, runtime, integrated=integrated)
        with contextlib.closing(TensorRtBackend(write_plan(panoptic_engine, runtime))) as backend:
            started = [backend.submit({"image": image}) for image in images]
            found[integrated] = [pending.result() for pending in started]
            assert (gpu.calls["cudaMemcpyAsync"] == gpu.calls["cudaMalloc"] == 0) == integrated
        assert not any(gpu.live.values())
    for copied, mapped in zip(found[False], found[True], strict=True):
        assert_same(mapped, copied)


def test_an_input_may_be_reused_as_soon_as_it_is_submitted(semantic_engine, install):
    install(semantic_engine)
    backend = TensorRtBackend(write_plan(semantic_engine))
    image = np.full((1, *tiny.CANVAS, 3), 255, np.uint8)
    bright = backend.submit({"image": image})
    image.fill(0)
    dark = backend.submit({"image": image})
    image.fill(77)
    assert dark.result()["semantic"].max() == 0
    assert bright.result()["semantic"].min() == 1


def test_results_belong_to_the_caller(semantic_engine, install):
    install(semantic_engine)
    backend = TensorRtBackend(write_plan(semantic_engine))
    image = np.full((1, *tiny.CANVAS, 3), 255, np.uint8)
    first = backend.infer({"image": image})["semantic"]
    backend.infer({"image": np.zeros_like(image)})
    backend.close()
    assert first.min() == 1
    first.fill(9)


def test_the_second_lane_costs_memory_when_work_overlaps_and_not_before(semantic_engine, install):
    gpu, tensorrt = install(semantic_engine, activations=GIB // 4)
    backend = TensorRtBackend(write_plan(semantic_engine))
    image = frames(1)[0]
    for _ in range(3):
        backend.infer({"image": image})
    assert len(tensorrt.contexts) == 1
    pending = [backend.submit({"image": image}) for _ in range(5)]
    assert len(tensorrt.contexts) == 2
    del pending
    backend.close()
    assert gpu.free == gpu.total


def test_without_memory_for_a_second_lane_one_has_to_do(semantic_engine, install):
    gpu, _ = install(semantic_engine, activations=int(GIB * 0.7))
    backend = TensorRtBackend(write_plan(semantic_engine))
    images = frames(5)
    expected = [backend.infer({"image": image}) for image in images]
    started = [backend.submit({"image": image}) for image in images]
    for pending, outputs in zip(started, expected, strict=True):
        assert_same(pending.result(), outputs)
    assert backend.depth == 1
    backend.close()
    assert gpu.free == gpu.total


@BOTH
def test_memory_that_does_not_suffice_for_one_is_a_line_and_no_leak(semantic_engine, install, runtime):
    gpu, _ = install(semantic_engine, runtime, activations=2 * GIB)
    with pytest.raises(
        EngineError,
        match=r"Requested size was too much.*1\.0 of 1\.0 GiB of GPU memory are free\); .*smaller --size",
    ):
        segopt.load(write_plan(semantic_engine, runtime))
    gc.collect()
    assert gpu.free == gpu.total
    assert not any(gpu.live.values())


def test_buffers_that_do_not_fit_are_a_line_and_no_leak(semantic_engine, install):
    gpu, _ = install(semantic_engine, memory=10_000)
    with pytest.raises(EngineError, match=r"semantic\.plan: cuda\w+ failed: out of memory .*smaller --size"):
        segopt.load(write_plan(semantic_engine))
    gc.collect()
    assert gpu.free == gpu.total


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"takes image as uint8 \[1, 48, 64, 3\], and was given none"),
        ({"image": np.zeros((1, 48, 64, 3), np.float32)}, r"was given float32 \[1, 48, 64, 3\]"),
        ({"image": np.zeros((2, 48, 64, 3), np.uint8)}, r"was given uint8 \[2, 48, 64, 3\]"),
        ({"image": np.zeros((1, 48, 64, 3), np.uint8), "size": np.zeros(2)}, "takes size as no input"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(semantic_engine, install, inputs, message):
    install(semantic_engine)
    backend = TensorRtBackend(write_plan(semantic_engine))
    with pytest.raises(EngineError, match=message):
        backend.infer(inputs)


def test_a_failing_run_says_why_and_the_next_one_works(semantic_engine, install):
    _, tensorrt = install(semantic_engine)
    backend = TensorRtBackend(write_plan(semantic_engine), use_graphs=False)
    image = frames(1)[0]
    tensorrt.fails = True
    for _ in range(3):
        with pytest.raises(
            EngineError, match=r"semantic\.plan: TensorRT-RTX .* failed: .*operation not permitted"
        ):
            backend.infer({"image": image})
    tensorrt.fails = False
    assert backend.infer({"image": image})["semantic"].shape == (1, *tiny.CANVAS)


def test_an_error_of_cuda_is_raised_where_the_result_is_asked_for(semantic_engine, install):
    gpu, _ = install(semantic_engine)
    backend = TensorRtBackend(write_plan(semantic_engine))
    pending = backend.submit({"image": frames(1)[0]})
    gpu.fails["cudaEventSynchronize"] = calls.runtime().cudaError_t.cudaErrorLaunchFailure
    for _ in range(2):
        with pytest.raises(
            EngineError, match=r"semantic\.plan: cudaEventSynchronize failed: .*cudaErrorLaunchFailure"
        ):
            pending.result()


# Ctrl-C, and errors that nobody foresaw.


def interrupt_in(monkeypatch, gpu, function, error=KeyboardInterrupt):
    """Let the next call of a function of CUDA raise in place of working."""
    works = getattr(gpu, function)

    def interrupted(*_):
        monkeypatch.setattr(gpu, function, works)
        raise error

    monkeypatch.setattr(gpu, function, interrupted)


@pytest.mark.parametrize("function", ["cudaEventSynchronize", "cudaGraphLaunch", "cudaEventRecord"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_inference_that_is_broken_off_costs_no_lane(semantic_engine, install, monkeypatch, function, error):
    gpu, _ = install(semantic_engine)
    backend, cpu = TensorRtBackend(write_plan(semantic_engine)), OnnxRuntimeBackend(semantic_engine, "cpu")
    expected = [cpu.infer({"image": image}) for image in frames(4)]
    for _ in range(3):
        interrupt_in(monkeypatch, gpu, function, error)
        with pytest.raises(error):
            backend.infer({"image": frames(1)[0]})
        for image, outputs in zip(frames(4), expected, strict=True):
            assert_same(backend.infer({"image": image}), outputs)
    backend.close()
    assert not any(gpu.live.values())


def test_waiting_that_is_interrupted_can_go_on(semantic_engine, install, monkeypatch):
    gpu, _ = install(semantic_engine)
    backend, cpu = TensorRtBackend(write_plan(semantic_engine)), OnnxRuntimeBackend(semantic_engine, "cpu")
    images = frames(5)
    first, second = (backend.submit({"image": image}) for image in images[:2])
    interrupt_in(monkeypatch, gpu, "cudaEventSynchronize")
    with pytest.raises(KeyboardInterrupt):
        first.result()
    # Both lanes are still taken: the third waits for the first, and overwrites nothing.
    others = [backend.submit({"image": image}) for image in images[2:]]
    for pending, image in zip([first, second, *others], images, strict=True):
        assert_same(pending.result(), cpu.infer({"image": image}))


def test_an_interrupted_inference_takes_no_second_lane(semantic_engine, install, monkeypatch):
    gpu, tensorrt = install(semantic_engine)
    backend = TensorRtBackend(write_plan(semantic_engine))
    for _ in range(3):
        interrupt_in(monkeypatch, gpu, "cudaEventSynchronize")
        with pytest.raises(KeyboardInterrupt):
            backend.infer({"image": frames(1)[0]})
    backend.infer({"image": frames(1)[0]})
    assert len(tensorrt.contexts) == 1


def test_after_an_error_that_stays_every_use_is_a_line(semantic_engine, install):
    gpu, _ = install(semantic_engine)
    backend = TensorRtBackend(write_plan(semantic_engine))
    gpu.fails["cudaEventSynchronize"] = calls.runtime().cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(EngineError, match="cudaErrorIllegalAddress"):
        backend.infer({"image": frames(1)[0]})
    gpu.fails.clear()
    for _ in range(3):
        with pytest.raises(EngineError, match=r"semantic\.plan: cuda\w+ failed: .*cudaErrorIllegalAddress"):
            backend.infer({"image": frames(1)[0]})
    backend.close()


# Several GPUs.


@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("use_graphs", [True, False])
def test_every_thread_works_on_the_models_gpu(semantic_engine, install, device, use_graphs):
    gpu, _ = install(semantic_engine, devices=2)
    plan = write_plan(semantic_engine, gpu="")
    backend = TensorRtBackend(plan, device=device, use_graphs=use_graphs)
    expected = backend.infer({"image": frames(1)[0]})
    found = []

    def work():
        started = [backend.submit({"image": frames(1)[0]}) for _ in range(3)]
        found.extend(pending.result() for pending in started)

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(found) == 6
    for outputs in found:
        assert_same(outputs, expected)
    backend.close()
    assert set(gpu.used) == {device}


def test_the_callers_own_gpu_stays_current(semantic_engine, install):
    gpu, _ = install(semantic_engine, devices=2)
    gpu.cudaSetDevice(1)
    backend = TensorRtBackend(write_plan(semantic_engine))
    backend.infer({"image": frames(1)[0]})
    backend.close()
    assert gpu.device == 1
    assert set(gpu.used) == {0}


def test_a_gpu_is_chosen_by_its_number(semantic_engine, install):
    gpu, _ = install(semantic_engine, devices=2)
    with segopt.load(write_plan(semantic_engine, gpu=""), device="cuda:1") as segmenter:
        assert "Simulated 1" in segmenter.backend.name
    assert set(gpu.used) == {1}
    with pytest.raises(
        EngineError, match=r"there is no GPU cuda:2: CUDA sees cuda:0 to cuda:1; without a GPU run"
    ):
        segopt.load(write_plan(semantic_engine), device="cuda:2")
    for wrong in ("cuda:", "cuda:x", "cpu:1", "gpu"):
        with pytest.raises(UsageError, match=f"device '{wrong}' is unknown; .*cuda:1"):
            segopt.load(write_plan(semantic_engine), device=wrong)


# CUDA graphs.


def test_one_launch_replays_the_whole_inference(panoptic_engine, install):
    gpu, _ = install(panoptic_engine)
    backend = TensorRtBackend(write_plan(panoptic_engine))
    before = gpu.calls.copy()
    backend.infer({"image": frames(1)[0]})
    on_the_gpu = {name: count for name, count in (gpu.calls - before).items() if "Ctx" not in name}
    # Each thread chooses its GPU: once to submit, once to wait.
    assert on_the_gpu == {
        "cudaSetDevice": 2,
        "cudaGraphLaunch": 1,
        "cudaEventRecord": 1,
        "cudaEventSynchronize": 1,
    }
    assert "CUDA graph" in backend.name


def test_where_tensorrt_cannot_be_captured_it_runs_plainly(semantic_engine, install):
    install(semantic_engine, "tensorrt", captures=False)
    backend = TensorRtBackend(write_plan(semantic_engine, "tensorrt"))
    assert backend.graphs == "none"
    assert backend.infer({"image": frames(1)[0]})["semantic"].any()
    with pytest.raises(EngineError, match=r"no CUDA graph can be made of it \(.*operation not permitted"):
        TensorRtBackend(write_plan(semantic_engine, "tensorrt"), use_graphs=True)


def test_a_graph_whose_first_launch_fails_is_not_kept(semantic_engine, install):
    """The failure comes once the GPU is at it, so the launch is waited for before the graph is relied on."""
    gpu, _ = install(semantic_engine, "tensorrt", replays=False)
    backend = TensorRtBackend(write_plan(semantic_engine, "tensorrt"))
    assert backend.graphs == "none"
    assert gpu.live["executable graph"] == 0
    assert backend.infer({"image": frames(1)[0]})["semantic"].any()
    with pytest.raises(EngineError, match=r"no CUDA graph can be made of it \(cudaStreamSynchronize failed"):
        TensorRtBackend(write_plan(semantic_engine, "tensorrt"), use_graphs=True)


@pytest.mark.parametrize("refusal", [{"capturable": False}, {"captures": False}, {"replays": False}])
def test_where_rtx_cannot_be_captured_it_makes_graphs_of_its_own(semantic_engine, install, refusal):
    _, tensorrt = install(semantic_engine, **refusal)
    backend = TensorRtBackend(write_plan(semantic_engine), use_graphs=True)
    assert backend.graphs == "own"
    assert backend.infer({"image": frames(1)[0]})["semantic"].any()
    plain, own = (context() for context in tensorrt.contexts)
    assert plain is None
    assert own.own_graphs


# TensorRT-RTX's kernels.


def test_kernels_that_were_compiled_are_kept_beside_the_plan(semantic_engine, install):
    install(semantic_engine)
    plan = write_plan(semantic_engine)
    cache = plan.with_name("semantic.plan.cache")
    TensorRtBackend(plan).close()
    assert cache.read_bytes() == b"kernels of this GPU"
    written = cache.stat()
    TensorRtBackend(plan).close()
    assert cache.stat().st_ino == written.st_ino
    cache.write_bytes(b"of another version")
    TensorRtBackend(plan).close()
    assert cache.read_bytes() == b"kernels of this GPU"


def test_a_cache_that_cannot_be_written_is_no_error(semantic_engine, install):
    install(semantic_engine)
    plan = write_plan(semantic_engine)
    (plan.parent / "semantic.plan.cache").mkdir()
    TensorRtBackend(plan).close()


# Ends.


@BOTH
def test_closing_releases_everything_and_use_after_it_is_one_line(semantic_engine, install, runtime):
    gpu, tensorrt = install(semantic_engine, runtime, activations=1000)
    backend = TensorRtBackend(write_plan(semantic_engine, runtime))
    image = frames(1)[0]
    lost = [backend.submit({"image": image}) for _ in range(3)][-1]
    backend.close()
    backend.close()
    assert gpu.abandoned == 0
    assert not any(gpu.live.values())
    assert not tensorrt.engines
    for use in (lambda: backend.infer({"image": image}), lost.result):
        with pytest.raises(EngineError, match=r"^\S+semantic\.plan: this model was closed; load it again$"):
            use()


def test_a_backend_that_is_dropped_releases_everything(semantic_engine, install):
    gpu, tensorrt = install(semantic_engine)
    gc.disable()
    try:
        for _ in range(5):
            TensorRtBackend(write_plan(semantic_engine)).infer({"image": frames(1)[0]})
        assert not any(gpu.live.values())
        assert not tensorrt.engines
    finally:
        gc.enable()


@pytest.mark.parametrize("use", ["load", "call", "pipeline"])
def test_a_plan_serves_the_public_api(tmp_path, panoptic_engine, install, use):
    gpu, _ = install(panoptic_engine)
    plan = write_plan(panoptic_engine)
    frame = np.full((*tiny.CANVAS, 3), 255, np.uint8)
    with segopt.load(plan) as on_gpu, segopt.load(panoptic_engine, device="cpu") as on_cpu:
        assert on_gpu.backend.name == "TensorRT-RTX 1.7.1.116 (Simulated, CUDA graph)"
        if use == "call":
            found, expected = on_gpu(frame), on_cpu(frame)
            np.testing.assert_array_equal(found.segment_map, expected.segment_map)
            assert found.segments == expected.segments
        if use == "pipeline":
            found, expected = (run(each, tmp_path) for each in (on_gpu, on_cpu))
            assert len(found) == 9
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    assert not any(gpu.live.values())


def run(segmenter, folder):
    """Segment maps of a clip, by the pipeline."""
    from segopt.pipeline.run import run_pipeline
    from segopt.sinks.base import Sink
    from segopt.sources import open_source

    maps = []

    class Keep(Sink):
        label = "list"

        def write(self, item):
            maps.append(item.result.segment_map)

        def close(self):
            pass

    clip = folder / "clip.mp4"
    if not clip.exists():
        clips.clip(clip, 9)
    with open_source(str(clip)) as source:
        run_pipeline(source, segmenter, [Keep()])
    return maps


@pytest.mark.parametrize(
    ("simulated", "real"),
    [
        (simulated_gpu._Runtime, trt.Runtime),
        (simulated_gpu._Engine, trt.ICudaEngine),
        (simulated_gpu._Context, trt.IExecutionContext),
        (simulated_gpu._RuntimeConfig, trt.IRuntimeConfig),
        (simulated_gpu._RuntimeCache, trt.IRuntimeCache),
    ],
)
def test_the_simulated_tensorrt_offers_nothing_that_the_real_one_does_not(simulated, real):
    methods = {name for name, value in vars(simulated).items() if inspect.isfunction(value) and name[0] != "_"}
    assert methods <= set(dir(real))
