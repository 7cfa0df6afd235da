"""A session on a GPU: every step is run, whatever becomes of the others, and all of it is in one report."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from segopt.driver import find_gpu
from segopt_bench.gpu_session.__main__ import main
from segopt_bench.gpu_session.report import watched_figures, write_report
from segopt_bench.gpu_session.session import run_steps
from segopt_bench.gpu_session.steps import SEGOPT, Step, network_names, session_steps
from segopt_bench.reporting.machine import describe_machine


def python(name, code, minutes=1.0):
    return Step(name, (sys.executable, "-c", code), minutes)


def test_a_step_that_fails_or_hangs_ends_nothing_but_itself(tmp_path):
    steps = [
        python("good", "print('all is well')"),
        python("bad", "import sys; print('it broke'); sys.exit(3)"),
        python("hangs", "import time; print('waiting', flush=True); time.sleep(60)", minutes=0.03),
        python("last", "print('the end')"),
    ]
    outcomes = list(run_steps(steps, tmp_path))
    assert [outcome.status for outcome in outcomes] == [0, 3, None, 0]
    assert [outcome.text for outcome in outcomes] == [
        "good",
        "failed with status 3",
        "stopped after 0.03 minutes",
        "good",
    ]
    assert [outcome.log.read_text().strip() for outcome in outcomes] == [
        "all is well",
        "it broke",
        "waiting",
        "the end",
    ]


def test_what_a_stopped_step_has_started_is_stopped_too(tmp_path):
    sign = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(4); pathlib.Path({str(sign)!r}).touch()"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    list(run_steps([python("parent", code, minutes=0.02)], tmp_path))
    time.sleep(4)
    assert not sign.exists()


def test_the_report_has_the_machine_every_outcome_and_what_was_said(tmp_path):
    steps = [python("one", "print('first')"), python("two", "for i in range(100): print('line', i)")]
    outcomes = list(run_steps(steps, tmp_path))
    (tmp_path / "one-gpu.csv").write_text("1980, 3201, 310.5, 40, 97\n1500, 3201, 290.5, 38, 95\n1980, [N/A], 3")
    write_report(tmp_path / "report.md", replace(describe_machine(), gpu="A GPU, 580"), outcomes)
    report = (tmp_path / "report.md").read_text()
    assert "| GPU | A GPU, 580 |" in report
    assert "| one | good |" in report
    assert "- power, W: median 300.5, from 290.5 to 310.5" in report
    assert "first" in report
    assert "(the last 60 of 100 lines of two.txt)" in report
    assert "line 99" in report
    assert "line 39\n" not in report


def test_without_a_recording_there_are_no_figures(tmp_path):
    assert watched_figures(tmp_path / "nothing.csv") == []


def test_every_network_is_exported_built_and_timed_in_both_precisions(tmp_path):
    steps = session_steps(tmp_path, tests=tmp_path / "none")
    names = [step.name for step in steps]
    assert names[0] == "doctor"
    for network in network_names():
        for precision in ("fp32", "fp16"):
            assert names.index(f"{network}-{precision}-export") < names.index(f"{network}-{precision}-build")
        bench = steps[names.index(f"{network}-bench")]
        assert bench.watched
        assert sum(word.endswith((".onnx", ".plan")) for word in bench.command) == 4
    assert "tests" not in names
    assert session_steps(tmp_path, tests=tmp_path)[1].name == "tests"


@pytest.mark.parametrize("verb", ["doctor", "export", "build", "bench"])
def test_commands_have_options_that_there_are(tmp_path, verb):
    """Each step's own options. Where a verb's help is brief, ``--help-all`` has the rest."""
    steps = [step for step in session_steps(tmp_path, ("demo",)) if verb in step.command]
    known = "".join(
        subprocess.run((*SEGOPT, verb, more), capture_output=True, text=True, env={"COLUMNS": "300"}).stdout
        for more in ("--help", "--help-all")
    )
    assert steps
    for step in steps:
        for option in (word for word in step.command[len(SEGOPT) :] if word.startswith("--")):
            assert option in known, (step.name, option)


@pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU")
def test_without_a_gpu_it_is_one_line(tmp_path, capsys):
    assert main(["--output", str(tmp_path / "session")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("no NVIDIA GPU on this machine (")
    assert error.count("\n") == 1
    assert not (tmp_path / "session").exists()
