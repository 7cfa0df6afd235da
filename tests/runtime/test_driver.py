"""The driver as it is found: a library of its name that says what a chosen driver would."""

import os
import shutil
import subprocess
import sys

import pytest

from segopt.driver import Gpu

LIBCUDA = """
#include <stdio.h>
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *version) { *version = CUDA; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "GPU %d", device); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 8ul << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? device == 1 : -1;
    return 0;
}
int cuGetErrorString(int code, const char **text) { *text = "no CUDA-capable device is detected"; return 0; }
int cuGetProcAddress(const char *name, void **found, int cuda, unsigned long flags) { return 500; }
int cuGetProcAddress_v2(const char *name, void **found, int cuda, unsigned long flags, void *s) { return 500; }
"""


@pytest.fixture
def with_driver(tmp_path):
    """Runs a line of Python where the driver knows such a CUDA and so many GPUs; what it prints."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("a C compiler is not installed")

    def run(line, *, cuda=13000, gpus=0, init=0):
        source = tmp_path / "libcuda.c"
        source.write_text(LIBCUDA, encoding="utf-8")
        library = tmp_path / "libcuda.so.1"
        defines = [f"-DCUDA={cuda}", f"-DCOUNT={gpus}", f"-DINIT={init}"]
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", *defines, "-o", str(library), str(source)],
            check=True,
        )
        environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
        code = f"from segopt import cuda, driver\nfrom segopt.errors import EngineError\n{line}"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


REQUIRE = """
try:
    cuda.require_gpu()
except EngineError as error:
    print(error)
"""


def test_gpus_are_listed_with_what_matters_of_them(with_driver):
    found = eval(with_driver("print(driver.find_driver().gpus)", gpus=2), {"Gpu": Gpu})
    assert found == (Gpu("GPU 0", "8.7", 8 << 30), Gpu("GPU 1", "8.7", 8 << 30, integrated=True))


def test_a_driver_without_a_gpu_says_why(with_driver):
    assert with_driver("print(driver.why_no_gpu())") == "the driver lists no GPU"
    said = with_driver("print(driver.why_no_gpu())", init=100)
    assert said == "cuInit says no CUDA-capable device is detected"


def test_a_driver_of_an_older_cuda_is_told_what_to_install(with_driver):
    pytest.importorskip("cuda.bindings.runtime")
    said = with_driver(REQUIRE, cuda=12020)
    assert "it knows CUDA 12.2" in said
    assert "`pip install 'cuda-bindings==12.*'`" in said
    assert "tensorrt-cu12 or tensorrt-rtx-cu12" in said
    assert "\n" not in said


def test_a_driver_of_a_cuda_that_nothing_is_made_for_any_more_must_be_updated(with_driver):
    pytest.importorskip("cuda.bindings.runtime")
    said = with_driver(REQUIRE, cuda=11040)
    assert "it knows CUDA 11.4" in said
    assert said.endswith("update the driver (CUDA 12.0 is the oldest that segopt can work with)")
