"""All that segopt uses of TensorRT is in NVIDIA's own Python bindings of every version that it is written for.

The bindings are small wheels of their own. Here they are loaded over libraries that have the functions' names and
nothing else: that shows every class, method and argument, and no GPU is needed.
"""

import ast
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tensorrt_stub import missing

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
STUB = ROOT / "typings/tensorrt/__init__.pyi"
SCRIPT = ROOT / "tests/tensorrt_stub.py"
WHEELS = {
    "10.3": "tensorrt-cu12-bindings==10.3.*",
    "10.7": "tensorrt-cu12-bindings==10.7.*",
    "10.13": "tensorrt-cu12-bindings==10.13.*",
    "10.16": "tensorrt-cu12-bindings==10.16.*",
    "11": "tensorrt-cu13-bindings==11.*",
}
FOR_RTX_ALONE = {
    "IRuntimeConfig",
    "ICudaEngine.create_runtime_config()",
    "ICudaEngine.create_execution_context(runtime_config)",
}
"""TensorRT has it from 10.13 on, and segopt uses it with TensorRT-RTX alone."""
C = """
#define FUNCTION(name) void *name(void) { return 0; }
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Gives the folder of a version's bindings with libraries beside them; each is fetched once."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the bindings' wheels are for Linux on x86-64")
    tools = [tool for tool in ("cc", "nm", "readelf") if shutil.which(tool) is None]
    if tools:
        pytest.skip(f"{', '.join(tools)} not installed")

    def unpack(version):
        folder = tmp_path_factory.mktemp(f"bindings-{version}")
        # Any Python's wheel has the same API; that of this one loads here.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", str(folder), WHEELS[version]], capture_output=True, text=True, check=False
        )
        wheels = list(folder.glob("*.whl"))
        if not wheels:
            pytest.skip(f"{WHEELS[version]} cannot be had: {done.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(folder)
        make_libraries(next(folder.glob("tensorrt_bindings/*.so")), folder)
        return folder

    return unpack


def make_libraries(extension, folder):
    """Libraries of the names that an extension wants, each with all of the functions that it wants."""
    wanted = subprocess.run(["readelf", "-d", extension], capture_output=True, text=True, check=True).stdout
    undefined = subprocess.run(["nm", "-D", "-u", extension], capture_output=True, text=True, check=True).stdout
    functions = re.findall(r" U ((?:create|get|init)\w+)$", undefined, re.MULTILINE)
    assert "createInferBuilder_INTERNAL" in functions
    source = folder / "functions.c"
    source.write_text(C + "\n".join(f"FUNCTION({name})" for name in functions), encoding="utf-8")
    for name in re.findall(r"\[(libnv[\w.]+)\]", wanted):
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run(command, check=True, capture_output=True)


def missing_in(folder, stub):
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    command = [sys.executable, str(SCRIPT), str(stub), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("version", WHEELS)
def test_the_bindings_have_all_that_segopt_uses(unpacked, tmp_path, version):
    folder = unpacked(version)
    assert set(missing_in(folder, STUB)) == (FOR_RTX_ALONE if version in ("10.3", "10.7") else set())
    # The check itself: a name that nobody has is found.
    wrong = tmp_path / "wrong.pyi"
    wrong.write_text("class Builder:\n    def build_wrongly(self, network): ...\n", encoding="utf-8")
    assert missing_in(folder, wrong) == ["Builder.build_wrongly(network)"]


def test_tensorrt_rtx_has_all_of_it_too():
    trt = pytest.importorskip("tensorrt_rtx")
    assert missing(trt, ast.parse(STUB.read_text(encoding="utf-8"))) == []
