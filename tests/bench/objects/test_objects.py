"""Files that compute masks in a loop are timed beside those that compute all."""

import json
from pathlib import Path

import pytest

import tiny
from segopt_bench.objects.__main__ import main

DETECTIONS = [((2.0, 2.0, 20.0, 30.0), round(0.97 - 0.05 * i, 2), 1) for i in range(18)]


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.looped_engine(tmp_path / "loop.onnx", "instance", DETECTIONS, 20)
    tiny.instance_engine(tmp_path / "whole.onnx", detections=DETECTIONS, slots=20)
    tiny.instance_engine(tmp_path / "other.onnx", detections=[((2, 2, 9, 9), 0.9, 1)] * 3, slots=20)


def test_there_is_a_line_for_each_count(capsys):
    arguments = ["--engine", "loop.onnx", "--against", "whole.onnx", "--counts", "2,18", "--rounds", "3"]
    assert main([*arguments, "--json", "found.json"]) == 0
    counted = json.loads(Path("found.json").read_text())["counted"]
    assert [(one["engine"], one["objects"]) for one in counted] == [
        ("whole.onnx", 20),
        ("loop.onnx", 2),
        ("loop.onnx", 18),
    ]
    assert counted[0]["times_as_fast"]["median"] == 1
    assert all(one["network"]["median"] > 0 for one in counted)
    out = capsys.readouterr().out
    assert "medians of 3 rounds" in out
    assert "18" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["loop.onnx", "whole.onnx", "40"], "--counts 40: the picture has 18 objects"),
        (["loop.onnx", "loop.onnx", "5"], "loop.onnx: computes masks in a loop; export it with --all-masks"),
        (["whole.onnx", "whole.onnx", "5"], "whole.onnx: computes all masks; export it with --target cpu"),
        (["loop.onnx", "other.onnx", "3"], "its answer is not that of other.onnx"),
        (["none.onnx", "whole.onnx", "3"], "none.onnx"),
    ],
)
def test_what_cannot_be_compared_is_one_line(capsys, arguments, words):
    engine, against, counts = arguments
    assert main(["--engine", engine, "--against", against, "--counts", counts, "--rounds", "1"]) == 1
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
