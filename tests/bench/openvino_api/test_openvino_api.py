"""The comparison with OpenVINO's own API: both do the same job. No test looks at a time."""

import json
import os
import subprocess
import sys

import pytest

import tiny
from segopt_bench.openvino_api.__main__ import main

pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install 'segopt[openvino]')")


@pytest.mark.parametrize(("network", "batch"), [(tiny.semantic_engine, 1), (tiny.panoptic_engine, 2)])
def test_the_command_compares_both_hints_and_writes_the_figures(tmp_path, network, batch):
    model, file = network(tmp_path / "model.onnx", batch=batch), tmp_path / "figures.json"
    # In a process of its own, as it is used: what others loaded would take part in the times.
    command = [sys.executable, "-m", "segopt_bench.openvino_api", "--engine", str(model), "--json", str(file)]
    done = subprocess.run(
        [*command, "--rounds", "2", "--threads", "1"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "times as fast" in done.stdout
    found = json.loads(file.read_text())["compared"]
    assert [one["hint"] for one in found] == ["latency", "throughput"]
    for one in found:
        assert one["times_as_fast"]["p5"] <= one["times_as_fast"]["median"] <= one["times_as_fast"]["p95"]
        assert min(one["backend"]["median"], one["api"]["median"]) > 0


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert main(["--engine", str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx" in capsys.readouterr().err
