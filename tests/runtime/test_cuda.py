"""The CUDA package: on a machine without a GPU its errors are real; what a GPU would do is simulated."""

import ast
import gc
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from segopt import cuda
from segopt.cuda import calls
from segopt.driver import Gpu, find_gpu
from segopt.errors import EngineError

real = pytest.importorskip("cuda.bindings.runtime")
from simulated_gpu import SimulatedCuda, put_in  # noqa: E402

without_gpu = pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU")


@pytest.fixture
def simulated(monkeypatch):
    gpu = SimulatedCuda()
    put_in(monkeypatch, gpu)
    return gpu


def package_nodes():
    for file in sorted(Path(cuda.__file__).parent.glob("*.py")):
        yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def calls_in_the_package():
    """Function and number of arguments of each `call("cudaX", ...)`."""
    for node in package_nodes():
        named = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "call"
        if named and isinstance(node.args[0], ast.Constant):
            yield node.args[0].value, len(node.args) - 1


def releases_in_the_package():
    """Functions that give a handle back: `Owned` calls them with the handle alone."""
    constants = (node.value for node in package_nodes() if isinstance(node, ast.Constant))
    return {name for name in constants if re.fullmatch(r"cuda(Free\w*|\w+Destroy)", str(name))}


def test_every_call_has_as_many_arguments_as_the_function_takes():
    used = list(calls_in_the_package())
    assert len(used) > 15
    for function, count in used:
        assert getattr(real, function).__code__.co_argcount == count, function


def test_every_release_takes_the_handle_alone():
    names = releases_in_the_package()
    assert {"cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaEventDestroy", "cudaGraphExecDestroy"} <= names
    for name in names:
        assert getattr(real, name).__code__.co_argcount == 1, name


def test_the_simulated_functions_take_what_the_real_ones_do():
    names = [name for name in vars(SimulatedCuda) if name.startswith("cuda")]
    functions = [name for name in names if inspect.isfunction(vars(SimulatedCuda)[name])]
    assert {function for function, _ in calls_in_the_package()} <= set(names)
    for name in functions:
        # One more for self.
        assert vars(SimulatedCuda)[name].__code__.co_argcount == getattr(real, name).__code__.co_argcount + 1, name


@without_gpu
def test_a_machine_without_a_driver_says_so():
    with pytest.raises(EngineError, match=r"^this machine has no NVIDIA driver; .*--gpus all"):
        cuda.require_gpu()


@without_gpu
@pytest.mark.parametrize(
    ("make", "function"),
    [
        (cuda.Stream, "cudaStreamCreateWithFlags"),
        (cuda.Event, "cudaEventCreateWithFlags"),
        (lambda: cuda.PinnedArray((4,), "f4"), "cudaHostAlloc"),
        (lambda: cuda.DeviceArray((4,), "f4"), "cudaMalloc"),
        (cuda.device_memory, "cudaMemGetInfo"),
    ],
)
def test_a_call_that_fails_is_an_exception_with_its_name(make, function):
    with pytest.raises(cuda.CudaError, match=rf"^{function} failed: .* \(cudaErrorInsufficientDriver\)$") as error:
        make()
    assert (error.value.function, error.value.code) == (function, "cudaErrorInsufficientDriver")


def test_cuda_bindings_that_are_not_there_are_an_error_with_the_fix(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    calls.runtime.cache_clear()
    with pytest.raises(EngineError, match=r"cuda-bindings is not usable \(.*\); .*`pip install cuda-bindings`"):
        cuda.require_gpu()


@pytest.mark.parametrize(
    ("code", "driver", "message"),
    [
        ("cudaErrorInsufficientDriver", 0, "no NVIDIA driver"),
        ("cudaErrorInsufficientDriver", 12020, r"too old: it knows CUDA 12\.2, .* 13\.2; .*cuda-bindings==12\.\*"),
        ("cudaErrorNoDevice", 13000, "finds no GPU; check `nvidia-smi` and CUDA_VISIBLE_DEVICES"),
        ("cudaErrorSystemDriverMismatch", 13000, "cudaGetDeviceCount failed: .*`segopt doctor`"),
    ],
)
def test_what_is_missing_for_a_gpu_is_named(simulated, code, driver, message):
    simulated.fails["cudaGetDeviceCount"] = getattr(real.cudaError_t, code)
    simulated.cudaDriverGetVersion = lambda: (real.cudaError_t.cudaSuccess, driver)
    with pytest.raises(EngineError, match=message) as error:
        cuda.require_gpu()
    assert "\n" not in str(error.value)


def test_a_gpu_is_described(simulated):
    assert cuda.require_gpu() == Gpu("Simulated", "8.9", simulated.total)
    assert cuda.device_memory() == (simulated.free, simulated.total)


def test_what_a_failed_call_leaves_behind_is_cleared(simulated):
    simulated.fails["cudaMalloc"] = real.cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(cuda.CudaMemoryError, match=r"^cudaMalloc failed: out of memory"):
        cuda.DeviceArray((4,), "f4")
    assert simulated.calls["cudaGetLastError"] == 1


def test_arrays_go_to_the_gpu_and_back_once_the_stream_is_waited_for(simulated):
    with (
        cuda.Stream() as stream,
        cuda.PinnedArray((2, 3), "f4") as source,
        cuda.PinnedArray((2, 3), "f4") as target,
        cuda.DeviceArray((2, 3), "f4") as array,
    ):
        source.array[:] = np.arange(6).reshape(2, 3)
        array.copy_from(source, stream)
        array.copy_to(target, stream)
        assert not target.array.any()
        stream.synchronize()
        assert target.array.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert target.array.dtype == np.float32
    assert not any(simulated.live.values())


def test_an_event_waits_for_what_came_before_it(simulated):
    with cuda.Stream() as stream, cuda.Event() as event:
        done = []
        simulated.put(stream.handle, lambda: lambda: done.append("before"))
        event.record(stream)
        simulated.put(stream.handle, lambda: lambda: done.append("after"))
        event.synchronize()
        assert done == ["before"]


def test_a_graph_replays_what_was_captured(simulated):
    done = []
    with cuda.Stream() as stream:
        with cuda.capture(stream, lambda: simulated.put(stream.handle, lambda: lambda: done.append(1))) as graph:
            assert done == []
            for _ in range(3):
                graph.launch(stream)
            stream.synchronize()
        assert done == [1, 1, 1]
        assert +simulated.live == {"stream": 1}


def test_a_capture_that_fails_leaves_the_stream_usable(simulated):
    with cuda.Stream() as stream:

        def work():
            stream.synchronize()

        with pytest.raises(cuda.CudaError, match="cudaErrorStreamCaptureUnsupported"):
            cuda.capture(stream, work)
        done = []
        simulated.put(stream.handle, lambda: lambda: done.append(1))
        stream.synchronize()
        assert done == [1]
    assert not any(simulated.live.values())


def garbage():
    """An array of the GPU that only the collector finds."""
    cycle = [cuda.DeviceArray((4,), "u1")]
    cycle.append(cycle)


@pytest.mark.usefixtures("simulated")
def test_a_capture_is_not_spoiled_by_garbage():
    thresholds = gc.get_threshold()
    with cuda.Stream() as stream:

        def work():
            gc.set_threshold(1)
            cycles = [[] for _ in range(100)]
            for cycle in cycles:
                cycle.append(cycle)

        garbage()
        try:
            cuda.capture(stream, work).close()
        finally:
            gc.set_threshold(*thresholds)
    assert gc.isenabled()
    gc.disable()
    try:
        with cuda.Stream() as stream:
            cuda.capture(stream, lambda: None).close()
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.usefixtures("simulated")
def test_memory_that_is_taken_in_a_capture_spoils_it():
    """As on a GPU: without this the simulation would let pass what CUDA refuses."""
    with cuda.Stream() as stream, pytest.raises(cuda.CudaError, match="cudaErrorStreamCaptureUnsupported"):
        cuda.capture(stream, lambda: cuda.DeviceArray((4,), "u1"))


@pytest.mark.usefixtures("simulated")
def test_an_input_that_is_written_after_its_launch_is_a_race():
    with cuda.Stream() as stream, cuda.PinnedArray((4,), "u1") as host, cuda.DeviceArray((4,), "u1") as array:
        array.copy_from(host, stream)
        host.array[:] = 7
        with pytest.raises(AssertionError, match="written after its launch"):
            stream.synchronize()
        stream.synchronize()


def test_a_thread_returns_to_its_own_gpu(monkeypatch):
    gpu = SimulatedCuda(devices=3)
    put_in(monkeypatch, gpu)
    with cuda.on_device(2):
        assert gpu.device == 2
        with cuda.on_device(1):
            assert gpu.device == 1
        assert gpu.device == 2
    # This thread had chosen none, and has none: no context was made on GPU 0.
    assert gpu.cuCtxGetCurrent()[1] is None


def test_closing_twice_releases_once_and_use_after_it_is_one_line(simulated):
    stream = cuda.Stream()
    stream.close()
    stream.close()
    assert simulated.calls["cudaStreamDestroy"] == 1
    with pytest.raises(EngineError, match=r"^this Stream was closed$"):
        stream.synchronize()
    pinned = cuda.PinnedArray((1,), "u1")
    pinned.close()
    with pytest.raises(EngineError, match="this PinnedArray was closed"):
        _ = pinned.array


def test_what_nobody_refers_to_is_released(simulated):
    cuda.Stream(), cuda.Event(), cuda.DeviceArray((4,), "u1"), cuda.PinnedArray((4,), "u1")
    gc.collect()
    assert not any(simulated.live.values())


def test_a_release_that_fails_hides_no_other_error(simulated):
    simulated.fails["cudaFree"] = real.cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(KeyError), cuda.DeviceArray((4,), "u1"):
        raise KeyError
