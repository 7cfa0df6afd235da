"""The comparison with OpenVINO's own API: both do the same job. No test looks at a time."""

import json

import pytest

import tiny
from segopt_bench.openvino_api.__main__ import main
from segopt_bench.openvino_api.rivals import compare

pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install 'segopt[openvino]')")


def test_both_hints_are_compared(tmp_path):
    model = tiny.panoptic_engine(tmp_path / "panoptic.onnx", batch=2)
    found = compare(model, 2, threads=1)
    assert [one.hint for one in found] == ["latency", "throughput"]
    for one in found:
        assert one.times_as_fast.p5 <= one.times_as_fast.median <= one.times_as_fast.p95
        assert min(one.backend.median, one.api.median) > 0


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    model, file = tiny.semantic_engine(tmp_path / "semantic.onnx"), tmp_path / "figures.json"
    assert main(["--engine", str(model), "--rounds", "2", "--threads", "1", "--json", str(file)]) == 0
    assert "times as fast" in capsys.readouterr().out
    assert [one["hint"] for one in json.loads(file.read_text())["compared"]] == ["latency", "throughput"]


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert main(["--engine", str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx" in capsys.readouterr().err
