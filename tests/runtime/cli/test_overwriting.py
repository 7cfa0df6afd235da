"""No verb replaces a file that it did not make, unless it is told to."""

import json

import cv2
import numpy as np
import pytest

import tiny

BENCH = ["--rounds", 1, "--warmup", 0, "--pictures", 1, "--device", "cpu"]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(called, path, folder, before):
    status, _, err = called
    assert status == 1
    assert (
        err == f"segopt: error: {path}: exists already; give another place for it, or --overwrite to replace it\n"
    )
    assert contents(folder) == before


@pytest.mark.parametrize("there", ["semantic.plan", "semantic.plan.json"])
@pytest.mark.parametrize("named", [False, True])
def test_a_build_replaces_neither_a_plan_nor_a_file_in_its_sidecars_place(
    segopt_cli, tmp_path, semantic_engine, there, named
):
    (tmp_path / there).write_bytes(b"own")
    before = contents(tmp_path)
    options = ["--output", tmp_path / "semantic.plan"] if named else []
    assert_refused(segopt_cli("build", semantic_engine, *options), tmp_path / there, tmp_path, before)


def test_a_build_replaces_both_when_told_to(segopt_cli, tmp_path, semantic_engine):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
    for name in ("semantic.plan", "semantic.plan.json"):
        (tmp_path / name).write_bytes(b"own")
    command = ["build", semantic_engine, "--runtime", "tensorrt-rtx"]
    assert segopt_cli(*command, "--overwrite")[0] == 0
    assert json.loads((tmp_path / "semantic.plan.json").read_text())["plan"]["runtime"] == "tensorrt-rtx"
    assert segopt_cli(*command)[0] == 1


def test_a_plan_as_the_source_of_a_build_is_refused_for_that(segopt_cli, tmp_path):
    (tmp_path / "a.plan").write_bytes(b"plan")
    status, _, err = segopt_cli("build", tmp_path / "a.plan")
    assert (status, "is a plan; give the ONNX file" in err) == (2, True)


@pytest.mark.parametrize(
    "there", ["report.md", "report.json", "semantic-1-stages.png", "semantic-1-distribution.png"]
)
def test_a_report_replaces_nothing_unless_told_to(segopt_cli, tmp_path, semantic_engine, there):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / there).write_bytes(b"own")
    before = contents(tmp_path)
    command = ["bench", "--engine", semantic_engine, *BENCH, "--report", folder]
    assert_refused(segopt_cli(*command), folder / there, tmp_path, before)
    assert segopt_cli(*command, "--overwrite")[0] == 0
    assert (folder / there).read_bytes() != b"own"
    assert len(list(folder.iterdir())) == 4


def test_figures_and_report_of_one_name_are_refused_before_the_work(segopt_cli, tmp_path, semantic_engine):
    pytest.importorskip("matplotlib")
    both = ["--json", tmp_path / "report" / "report.json", "--report", tmp_path / "report"]
    status, _, err = segopt_cli("bench", "--engine", semantic_engine, *BENCH, *both)
    assert (status, "is a file of --report" in err) == (2, True)


@pytest.mark.parametrize("verb", ["eval", "bench"])
def test_an_older_file_of_figures_stays_unless_told_otherwise(segopt_cli, tmp_path, verb):
    engine, data = tiny.semantic_engine(tmp_path / "e.onnx"), tmp_path / "data"
    for name in ("images", "semantic"):
        (data / name).mkdir(parents=True)
        cv2.imwrite(str(data / name / "a.png"), np.zeros((48, 64, 3 if name == "images" else 1), np.uint8))
    (data / "classes.json").write_text('["dark", "bright"]')
    (tmp_path / "f.json").write_bytes(b"own")
    before = contents(tmp_path)
    command = [verb, "--engine", engine, "--json", tmp_path / "f.json"]
    command += ["--data", data, "--device", "cpu"] if verb == "eval" else BENCH
    assert_refused(segopt_cli(*command), tmp_path / "f.json", tmp_path, before)
    assert segopt_cli(*command, "--overwrite")[0] == 0
    assert isinstance(json.loads((tmp_path / "f.json").read_text()), dict)
