"""The runtime works where torch is absent, and importing it brings in nothing heavy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import segopt
import tiny

LEAN = os.environ.get("SEGOPT_LEAN_PYTHON")
HEAVY = [
    "av",
    "cuda",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pyarrow",
    "ray",
    "rich",
    "segopt_bench",
    "segopt_export",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
    "torchvision",
    "typer",
]

needs_lean = pytest.mark.skipif(
    not LEAN, reason="SEGOPT_LEAN_PYTHON names no Python with segopt[cpu] alone; `make test` sets it"
)
INTERPRETERS = [
    pytest.param(sys.executable, id="this"),
    pytest.param(LEAN, id="lean", marks=needs_lean),
]


def python(interpreter, code, *arguments):
    done = subprocess.run(
        [interpreter, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lean_command(*arguments):
    script = Path(LEAN).with_name("segopt")
    return subprocess.run([script, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((96, 128, 3), 200, np.uint8))
    return path


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_importing_segopt_brings_in_nothing_heavy(interpreter):
    code = """
import json, sys, segopt
for name in segopt.__all__:
    getattr(segopt, name)
print(json.dumps(list(sys.modules)))
"""
    loaded = json.loads(python(interpreter, code))
    assert "segopt.segmenter" in loaded
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_picture_is_segmented_and_saved_with_nothing_heavy(interpreter, tmp_path, picture):
    engine = tiny.panoptic_engine(tmp_path / "engine.onnx")
    code = """
import json, sys, segopt
result = segopt.load(sys.argv[1], device="cpu")(sys.argv[2])
result.save(sys.argv[3], sys.argv[2])
print(json.dumps(list(sys.modules)))
"""
    loaded = json.loads(python(interpreter, code, engine, picture, tmp_path / "overlay.png"))
    heavy = ("av", "onnx", "PIL", "rich", "supervision", "torch", "typer")
    assert [name for name in heavy if name in loaded] == []
    assert (tmp_path / "overlay.png").exists()


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_command_line_can_set_up_its_process_before_numpy_is_imported(interpreter):
    code = (
        "import sys, segopt.cli.run; assert 'numpy' not in sys.modules; segopt.load; assert 'numpy' in sys.modules"
    )
    python(interpreter, code)


def test_segopt_has_all_that_it_names_and_nothing_else():
    assert set(segopt.__all__) <= set(dir(segopt))
    for name in segopt.__all__:
        assert getattr(segopt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        segopt.lode  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_no_module_of_the_runtime_needs_torch(interpreter):
    code = """
import importlib, json, pkgutil, sys, segopt
names = [module.name for module in pkgutil.walk_packages(segopt.__path__, "segopt.")]
names.remove("segopt.__main__")  # it is the command
for name in names:
    importlib.import_module(name)
print(json.dumps([names, list(sys.modules)]))
"""
    names, loaded = json.loads(python(interpreter, code))
    assert len(names) > 20
    heavy = ("torch", "torchvision", "onnx", "onnxscript", "segopt_export", "segopt_bench")
    assert [name for name in heavy if name in loaded] == []


@needs_lean
def test_the_lean_environment_is_lean():
    code = "import importlib.util as u, json; print(json.dumps([n for n in {} if u.find_spec(n)]))"
    assert json.loads(python(LEAN, code.format(["torch", "torchvision", "onnx", "onnxscript"]))) == []


@needs_lean
def test_the_command_works_without_torch():
    done = lean_command("--help")
    assert done.returncode == 0, done.stderr
    assert "export" in done.stdout


@needs_lean
@pytest.mark.parametrize("make", [tiny.semantic_engine, tiny.instance_engine, tiny.panoptic_engine])
def test_an_engine_runs_without_torch(tmp_path, picture, make):
    engine = make(tmp_path / "engine.onnx")
    out = tmp_path / "out"
    done = lean_command("run", "--engine", engine, picture, "--output", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert list(out.rglob("*.png")) or list(out.rglob("*.jpg"))


@needs_lean
def test_the_python_api_works_without_torch(tmp_path, picture):
    engine = tiny.panoptic_engine(tmp_path / "engine.onnx")
    code = """
import sys, cv2, segopt
result = segopt.load(sys.argv[1])(cv2.imread(sys.argv[2]))
print(*(segment.category_id for segment in result.segments))
assert "torch" not in sys.modules and "onnx" not in sys.modules
"""
    assert python(LEAN, code, engine, picture).split() == ["1", "3", str(tiny.SKY.id)]


@needs_lean
def test_export_without_torch_says_what_to_install():
    done = lean_command("export", "--mode", "semantic")
    assert done.returncode == 1
    assert done.stderr.startswith("segopt: error: export needs ")
    assert "pip install 'segopt[export]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_nothing_that_a_server_lacks_is_linked(interpreter):
    """Slim images and servers have no libGL.so.1, which OpenCV's build with windows needs."""
    code = "import cv2, av, numpy, onnxruntime; print(open('/proc/self/maps').read())"
    loaded = python(interpreter, code)
    assert "cv2" in loaded
    assert "libGL.so" not in loaded


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "fix"),
    [
        ("libGL.so.1", "libgl1"),
        ("libgthread-2.0.so.0", "libglib2.0-0"),
        ("libstdc++.so.6", "libstdc++6"),
        ("libcudart.so.12", "segopt[gpu]"),
        ("libnvinfer.so.10", "TensorRT"),
        ("libunheard-of.so.3", "apt-file search libunheard-of.so.3"),
    ],
)
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_missing_native_library_is_named_with_what_brings_it(
    interpreter, library, fix, tmp_path, panoptic_engine
):
    """A package whose library does not load, in the place of the real one, which is what the linker would say."""
    text = f"{library}: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({text!r})\n")
    done = subprocess.run(
        [interpreter, "-m", "segopt", "run", "--engine", panoptic_engine, "x.png"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"segopt: error: the library {library} is missing")
    assert fix in done.stderr
    assert done.stderr.count("\n") == 1
