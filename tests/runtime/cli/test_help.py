"""Help for a stranger: common options first, all on a screen, examples that are right; completion by Tab."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from segopt.cli.help import ADVANCED_PANEL, COMMON, EXAMPLES, FIRST_STEPS, PRECISION
from segopt.cli.main import VERBS, make_app

COMMAND = Path(sys.executable).with_name("segopt")
SCREEN = 52
PARAMETERS = {verb: command.params for verb, command in typer.main.get_command(make_app()).commands.items()}


def lines_of(segopt_cli, monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", "100")
    status, out, err = segopt_cli(*arguments)
    assert (status, err) == (0, "")
    return out.rstrip().splitlines()


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_a_screen_and_ends_with_examples(segopt_cli, monkeypatch, verb):
    lines = lines_of(segopt_cli, monkeypatch, verb, "--help")
    assert len(lines) <= SCREEN
    assert [line.strip() for line in lines[-len(EXAMPLES[verb]) :]] == list(EXAMPLES[verb])


def test_the_commands_own_help_fits_and_ends_with_first_steps(segopt_cli, monkeypatch):
    lines = lines_of(segopt_cli, monkeypatch, "--help")
    assert len(lines) <= SCREEN
    assert lines[-1].strip() == FIRST_STEPS[-1]


@pytest.mark.parametrize("verb", sorted({*COMMON, *PRECISION}))
def test_tables_name_parameters_that_there_are(verb):
    named = {*COMMON[verb], *PRECISION.get(verb, ())}
    assert named <= {each.name for each in PARAMETERS[verb]}


@pytest.mark.parametrize("verb", VERBS)
def test_help_all_shows_every_option(segopt_cli, monkeypatch, verb):
    brief = any(each.name == "help_all" for each in PARAMETERS[verb])
    text = "\n".join(lines_of(segopt_cli, monkeypatch, verb, "--help-all" if brief else "--help"))
    options = [each.opts[0] for each in PARAMETERS[verb] if each.opts[0].startswith("--")]
    assert [each for each in options if not re.search(rf"(?<![\w-]){re.escape(each)}(?![\w-])", text)] == []
    if brief:
        assert ADVANCED_PANEL in text


@pytest.mark.parametrize("example", [each for verb in VERBS for each in EXAMPLES[verb]])
def test_examples_are_commands_that_the_program_takes(example):
    _, verb, *arguments = shlex.split(example.partition(" | ")[0])
    command = typer.main.get_command(make_app((verb,))).commands[verb]
    assert command.make_context(verb, arguments).params


@pytest.mark.slow
def test_completion_is_installed_into_a_shell_and_knows_verbs_and_options(tmp_path):
    environment = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    environment.pop("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", None)

    def bash(script):
        return subprocess.run(
            ["/bin/bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    bash(f"{COMMAND} --install-completion; true")
    script = tmp_path / ".bash_completions" / "segopt.sh"
    assert str(script) in (tmp_path / ".bashrc").read_text(encoding="utf-8")
    for words, found in (("segopt ev", "eval"), ("segopt run --str", "--stride")):
        count = len(words.split()) - 1
        tab = f'COMP_WORDS=({words}); COMP_CWORD={count}; _segopt_completion {COMMAND}; echo "${{COMPREPLY[@]}}"'
        assert bash(f"source {script}; {tab}").split() == [found]


def test_completion_is_shown_for_those_who_install_it_themselves():
    done = subprocess.run(
        ["/bin/bash", "-c", f"{COMMAND} --show-completion; true"], capture_output=True, text=True, check=True
    )
    assert "_SEGOPT_COMPLETE=complete_bash" in done.stdout
