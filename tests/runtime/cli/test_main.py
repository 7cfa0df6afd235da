"""The ``segopt`` command: help for everything, and one line on stderr for what went wrong."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

import segopt
import tiny
from segopt.cli import main
from segopt.cli.main import VERBS
from segopt.errors import SegoptError

COMMAND = Path(sys.executable).with_name("segopt")


def command(*arguments, **options):
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False, **options
    )


def assert_one_error_line(err):
    assert re.fullmatch(r"segopt: error: \S.*\n", err), err
    assert "Traceback" not in err


# The real command.


def test_the_installed_command_says_its_version():
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"segopt {segopt.__version__}\n", "")


def test_the_installed_command_fails_in_one_line(tmp_path):
    done = command("info", tmp_path / "nowhere.onnx")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_error_line(done.stderr)
    assert "nowhere.onnx: no such file" in done.stderr


def test_the_installed_command_knows_wrong_usage():
    done = command("run", "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_error_line(done.stderr)


def test_a_reader_that_stops_reading_gets_no_traceback(panoptic_engine):
    piped = subprocess.run(
        ["sh", "-c", '"$0" info "$1" --json | true', COMMAND, panoptic_engine],
        capture_output=True,
        text=True,
        check=False,
    )
    assert piped.stderr == ""


def test_a_verb_brings_in_no_other():
    code = """
import sys
from segopt.cli import main
sys.argv = ["segopt", "run", "--no-such-option"]
try:
    main()
except SystemExit:
    print(*(name for name in sys.modules if name.startswith("segopt.cli.")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "segopt.cli.run" in done.stdout.split()
    assert not {"segopt.cli.export", "segopt.cli.bench"} & set(done.stdout.split())


# The same in this process.


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_every_verb(segopt_cli, arguments):
    status, out, err = segopt_cli(*arguments)
    assert (status, err) == (0, "")
    assert "Usage: segopt" in out
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", out)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(segopt_cli, verb):
    status, out, err = segopt_cli(verb, "--help")
    assert (status, err) == (0, "")
    assert f"Usage: segopt {verb}" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-verb"], "No such command 'no-such-verb'; see `segopt --help`"),
        (["--no-such-option"], "--no-such-option"),
        (["run"], "see `segopt run --help`"),
        (["run", "picture.png"], "Missing option '--engine'"),
        (["run", "picture.png", "--engine"], "'--engine' requires an argument"),
        (["run", "picture.png", "--engine", "e.onnx", "--stride", "often"], "'--stride'"),
        (["run", "picture.png", "--engine", "e.onnx", "--score-threshold", "high"], "'--score-threshold'"),
        (["run", "picture.png", "--engine", "e.onnx", "--mode", "depth"], "'--mode'"),
        (["run", "picture.png", "--engine", "e.onnx", "--device", "tpu"], "'--device'"),
        (["info"], "Missing argument 'FILE|DIR'"),
        (["info", "a.onnx", "b.onnx"], "unexpected extra argument"),
        (["export", "--batch", "many", "--mode", "semantic"], "'--batch'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_status_2(segopt_cli, arguments, words):
    status, out, err = segopt_cli(*arguments)
    assert (status, out) == (2, "")
    assert_one_error_line(err)
    assert words in err
    assert "--help`" in err


@pytest.mark.parametrize("threshold", ["-1", "1.5", "nan"])
def test_values_out_of_range_are_wrong_usage(segopt_cli, tmp_path, panoptic_engine, threshold):
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    status, _, err = segopt_cli("run", picture, "--engine", panoptic_engine, "--score-threshold", threshold)
    assert status == 2
    assert_one_error_line(err)
    assert "score_threshold" in err


def test_a_view_that_the_model_does_not_have_is_wrong_usage(segopt_cli, tmp_path, semantic_engine):
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    status, _, err = segopt_cli(
        "run", picture, "--engine", semantic_engine, "--mode", "instance", "--output", tmp_path / "out"
    )
    assert status == 2
    assert_one_error_line(err)
    assert "has no instance view" in err
    assert not (tmp_path / "out").exists()


def foreign(path):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    onnx.save(onnx.helper.make_model(graph), path)


BAD_FILES = {
    "missing": lambda _: None,
    "empty": lambda path: path.touch(),
    "a folder": lambda path: path.mkdir(),
    "text": lambda path: path.write_text("no model\n" * 100),
    "truncated": lambda path: path.write_bytes(tiny.semantic_engine(path).read_bytes()[:-100]),
    "foreign": foreign,
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("name", ["bad.onnx", "bad.plan", "bad [red]名.onnx"])
def test_files_that_are_no_model_are_one_line_and_status_1(segopt_cli, tmp_path, monkeypatch, kind, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    BAD_FILES[kind](path)
    for arguments in (["info", path], ["info", path, "--json"], ["run", "--engine", path, sample(tmp_path)]):
        status, out, err = segopt_cli(*arguments)
        assert (status, out) == (1, "")
        assert_one_error_line(err)
        assert name in err


def sample(folder):
    path = folder / "picture.png"
    cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))
    return path


def test_an_error_of_several_lines_is_printed_as_one(segopt_cli, monkeypatch):
    def fail(*_, **__):
        raise SegoptError("model.onnx: broken\n  in two places")

    monkeypatch.setattr("segopt.model.reading.read_card", fail)
    status, _, err = segopt_cli("info", "model.onnx")
    assert (status, err) == (1, "segopt: error: model.onnx: broken in two places\n")


def test_what_a_terminal_should_not_get_is_written_out(segopt_cli, tmp_path, semantic_engine):
    """Other libraries repeat what stands in a file."""
    data = semantic_engine.read_bytes()
    assert data.count(b"keepdims") == 1
    semantic_engine.write_bytes(data.replace(b"keepdims", b"ke\x1b[2J\x0es"))
    status, _, err = segopt_cli("run", "--engine", semantic_engine, sample(tmp_path), "--output", tmp_path / "out")
    assert status == 1
    assert_one_error_line(err)
    assert r"ke\x1b[2J\x0es" in err
    assert err.rstrip("\n").isprintable()


def test_an_interrupt_is_status_130(segopt_cli, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("segopt.model.reading.read_card", interrupt)
    status, _, err = segopt_cli("info", "model.onnx")
    assert status == 130
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (MemoryError(), "MemoryError: there is not enough memory"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "or a limit on it or on threads is reached"),
        (type("Panic", (BaseException,), {})("of an\nextension"), "Panic: of an extension"),
    ],
)
def test_what_nobody_foresaw_is_one_line_and_a_traceback_on_request(segopt_cli, monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("segopt.model.reading.read_card", fail)
    status, _, err = segopt_cli("info", "model.onnx")
    assert status == 1
    assert_one_error_line(err)
    assert words in err
    assert "SEGOPT_DEBUG=1" in err
    monkeypatch.setenv("SEGOPT_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["segopt", "info", "model.onnx"])
    with pytest.raises(type(error)):
        main()


@pytest.mark.parametrize("name", ["engines", b"eng\xffines"])
def test_a_file_that_the_system_refuses_is_named(segopt_cli, monkeypatch, name):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr("segopt.model.reading.read_card", fail)
    status, _, err = segopt_cli("info", "model.onnx")
    assert status == 1
    assert_one_error_line(err)
    assert re.search(r": eng(\\udcff)?ines: Permission denied; check the name and its permissions", err)


def test_info_prints_the_card(segopt_cli, panoptic_engine):
    status, out, err = segopt_cli("info", panoptic_engine)
    assert (status, err) == (0, "")
    assert "panoptic" in out
