"""The doctor outlives whatever it finds, and says what each missing thing would take."""

import json
import platform
import subprocess
import sys
import time

import pytest
import typer
from typer.testing import CliRunner

from segopt.cli.doctor import doctor
from segopt.doctor.examine import _pyav, _python, examine, jetson_release
from segopt.doctor.findings import PROBE_SECONDS


def by_name(findings):
    return {finding.name: finding for finding in findings}


def broken_package(folder, name, code):
    package = folder / name
    package.mkdir()
    (package / "__init__.py").write_text(code, encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def patience():
    """A machine that is busy with other tests may be slow to import a package; that is no finding here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segopt.doctor.examine.PROBE_SECONDS", 60.0)
        yield


@pytest.fixture(scope="module")
def findings():
    return examine()


def test_it_finds_what_runs_these_tests(findings):
    import av
    import cv2
    import numpy

    found = by_name(findings)
    assert found["Python"].found == f"{platform.python_version()} ({sys.executable})"
    assert found["numpy"].found == numpy.__version__
    assert found["OpenCV"].found == cv2.__version__
    # The videos of these tests are written by libx264, so it is there.
    assert found["PyAV"].found.startswith(f"{av.__version__}, encoders: libx264")
    for name in ("Python", "numpy", "OpenCV", "PyAV"):
        assert found[name].status == "ok", found[name]


@pytest.mark.parametrize(
    ("version", "status"),
    [((3, 9), "warning"), ((3, 10), "ok"), ((3, 13), "ok"), ((3, 14), "warning"), ((4, 0), "warning")],
)
def test_a_python_that_segopt_is_not_tested_on_is_a_warning(monkeypatch, version, status):
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    finding = _python()
    assert finding.status == status
    assert ("3.10 to 3.13" in finding.fix) == (status == "warning")


def test_a_pyav_without_its_encoder_is_a_warning_that_says_so():
    finding = _pyav({"version": "17.0.0", "encoders": ["h264_nvenc"]})
    assert finding.status == "warning"
    assert "no libx264" in finding.found
    assert "pip install av" in finding.fix


def test_it_looks_for_everything_that_segopt_can_use(findings):
    assert {
        "Machine",
        "OpenCV windows",
        "OpenCV GStreamer",
        "ONNX Runtime",
        "OpenVINO",
        "NVIDIA GPU",
        "cuda-bindings",
        "TensorRT",
        "TensorRT lean runtime",
        "TensorRT-RTX",
        "torch",
        "torchvision",
        "onnx",
    } <= set(by_name(findings))


def test_whatever_is_not_ok_says_what_it_would_take(findings):
    for finding in findings:
        assert (finding.fix == "") == (finding.status == "ok"), finding
        assert "\n" not in finding.found + finding.fix


BROKEN = {
    "raises": ("raise ImportError('libnvinfer.so.10: cannot open shared object file')", "libnvinfer.so.10"),
    "exits": ("raise SystemExit(3)", "SystemExit"),
    "kills": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended the Python process"),
    "has no version": ("", "__version__"),
    "prints": ("print('{}'); raise RuntimeError('two\\nlines')", "two"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_package_is_a_finding_of_one_line(case, tmp_path, monkeypatch):
    code, reason = BROKEN[case]
    broken_package(tmp_path, "tensorrt", code)
    monkeypatch.syspath_prepend(tmp_path)
    finding = by_name(examine())["TensorRT"]
    assert finding.status == "warning"
    assert reason in finding.found
    assert "\n" not in finding.found
    assert "reinstall" in finding.fix


def test_packages_that_hang_cost_the_limit_once_and_no_more(tmp_path, monkeypatch):
    assert PROBE_SECONDS == 15
    monkeypatch.setattr("segopt.doctor.examine.PROBE_SECONDS", 3.0)
    broken_package(tmp_path, "tensorrt", "import time; time.sleep(60)")
    broken_package(tmp_path, "tensorrt_rtx", "import time; time.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)
    start = time.monotonic()
    found = by_name(examine())
    # The two wait side by side.
    assert time.monotonic() - start < 5.5
    assert found["TensorRT"].status == found["TensorRT-RTX"].status == "warning"
    assert "no answer" in found["TensorRT"].found


def test_a_flavor_without_a_builder_is_said_to_be_one(tmp_path, monkeypatch):
    broken_package(tmp_path, "tensorrt_lean", "__version__ = '10.9.0'")
    monkeypatch.syspath_prepend(tmp_path)
    finding = by_name(examine())["TensorRT lean runtime"]
    assert finding.status == "ok"
    assert finding.found == "10.9.0, runs plans and builds none"


def test_torch_is_not_imported():
    code = "import sys; from segopt.doctor.examine import examine; examine(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (
            "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
            "L4T 36.4.3 (JetPack 6)",
        ),
        ("# R35 (release), REVISION: 3.1, GCID: 32827747, BOARD: t186ref", "L4T 35.3.1 (JetPack 5)"),
        ("# R38 (release), REVISION: 2.0", "L4T 38.2.0 (JetPack 7)"),
        ("", ""),
    ],
)
def test_a_jetson_is_known_by_its_release_file(text, release):
    assert jetson_release(text) == release


def run(*arguments):
    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, list(arguments))


def test_the_table_exits_with_zero_and_keeps_extras_in_brackets():
    result = run()
    assert result.exit_code == 0
    assert "NVIDIA GPU" in result.output
    if by_name(examine())["TensorRT-RTX"].status == "missing":
        assert "segopt[rtx]" in result.output


def test_json_is_a_list_of_findings():
    result = run("--json")
    assert result.exit_code == 0
    for entry in json.loads(result.output):
        assert set(entry) == {"name", "status", "found", "fix"}
        assert entry["status"] in ("ok", "missing", "warning")
