"""What the doctor makes of GPUs and of the packages that use them."""

import re
import types
from pathlib import Path

import pytest

from segopt.doctor import probes
from segopt.doctor.gpu import PROVIDERS_TENSORRT, cuda_bindings, nvidia_gpu, onnxruntime, tensorrt, tensorrt_rtx

NONE = {"version": "", "cuda": 0, "gpus": [], "error": "libcuda.so.1 is not installed"}


def gpu(capability="8.9", cuda=13000):
    cards = [{"name": "Card", "compute_capability": capability, "memory": 8 * 2**30}]
    return {"version": "580.95.05", "cuda": cuda, "gpus": cards, "error": ""}


def runtime(*providers, trouble=""):
    return {
        "version": "1.22.0",
        "providers": [f"{p}ExecutionProvider" for p in providers],
        "cuda_trouble": trouble,
    }


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        (gpu(), "ok", r"Card (compute capability 8.9, 8.0 GiB); driver 580.95.05, CUDA 13.0"),
        (NONE, "missing", "libcuda.so.1 is not installed"),
        (
            {**NONE, "version": "535.1", "error": "cuInit says no device"},
            "warning",
            "535.1, but cuInit says no device",
        ),
        ({"broken": "no answer"}, "missing", "no answer"),
    ],
)
def test_a_gpu_or_why_there_is_none(facts, status, words):
    found = nvidia_gpu(facts, jetson=False)
    assert found.status == status
    assert words in found.found


@pytest.mark.parametrize(
    ("facts", "here", "status", "words"),
    [
        (runtime("CPU"), NONE, "ok", "providers: CPU"),
        (runtime("CPU"), gpu(), "warning", "none uses the GPU"),
        (runtime("CUDA", "CPU"), gpu(), "ok", "providers: CUDA, CPU"),
        (
            runtime("CUDA", "CPU", trouble="libcudnn.so.9: cannot open shared object file"),
            gpu(),
            "warning",
            "CUDA does not load: libcudnn.so.9",
        ),
        (runtime("CUDA", "CPU", trouble="libcuda.so.1"), NONE, "ok", "providers: CUDA, CPU"),
        (
            {**runtime("Tensorrt", "CUDA", "CPU"), "tensorrt_trouble": "libnvinfer.so.10: cannot open"},
            gpu(),
            "warning",
            "TensorRT's provider does not load: libnvinfer.so.10",
        ),
        ({"absent": True}, gpu(), "missing", ""),
    ],
)
def test_onnx_runtime_beside_a_gpu_should_use_it(facts, here, status, words):
    found = onnxruntime(facts, here)
    assert found.status == status
    assert words in found.found


@pytest.mark.parametrize(
    ("bindings", "driver", "status"),
    [(13020, 13000, "ok"), (12060, 13000, "ok"), (13020, 12060, "warning"), (13020, 0, "ok")],
)
def test_cuda_bindings_must_not_be_of_a_later_cuda_than_the_driver(bindings, driver, status):
    facts = {"version": "13.2.0", "cuda": bindings}
    found = cuda_bindings(facts, {**gpu(), "cuda": driver}, jetson=False)
    assert found.status == status
    assert status == "ok" or ("cuda-bindings==12.*" in found.fix and "tensorrt-cu12" in found.fix)


@pytest.mark.parametrize(
    ("version", "status"), [("10.3.0", "ok"), ("11.4.1", "ok"), ("8.6.1", "warning"), ("12.0", "warning")]
)
def test_tensorrt_must_be_of_a_version_that_segopt_knows(version, status):
    found = tensorrt("tensorrt", {"version": version, "builder": True}, "")
    assert found.status == status
    assert status == "ok" or "10 and 11" in found.found


@pytest.mark.parametrize(
    ("here", "status"), [(gpu("8.9"), "ok"), (gpu("9.0"), "warning"), (gpu("8.7"), "warning"), (NONE, "ok")]
)
def test_tensorrt_rtx_says_which_gpus_it_does_not_know(here, status):
    found = tensorrt_rtx({"version": "1.7.1.116", "builder": True}, here, jetson=False)
    assert found.status == status
    assert status == "ok" or here["gpus"][0]["compute_capability"] in found.found


def test_the_extra_brings_the_tensorrt_that_onnx_runtimes_provider_loads():
    (extra,) = re.findall(r"^gpu = .*$", (Path(__file__).parents[3] / "pyproject.toml").read_text(), re.MULTILINE)
    assert f'"{PROVIDERS_TENSORRT}"' in extra


def test_a_provider_that_does_not_load_gives_the_linkers_line(tmp_path):
    package = types.SimpleNamespace(__file__=str(tmp_path / "onnxruntime" / "__init__.py"))
    trouble = probes._provider_trouble(package, "cuda")
    assert "libonnxruntime_providers_shared.so: cannot open shared object file" in trouble
    assert "\n" not in trouble
