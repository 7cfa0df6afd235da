"""Files that were made to harm end in one line: no crash, no hang, no gigabytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "hostile_weights.py"


def outcomes(folder):
    """What became of each file, in a process of its own."""
    done = subprocess.run(
        [sys.executable, SCRIPT, folder], capture_output=True, text=True, check=False, timeout=900
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (lines[-1:], done.stderr[-2000:])
    return [line for line in lines if "file" in line]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process")
def test_hostile_files_are_refused_in_one_line_and_little_memory(tmp_path):
    found = outcomes(tmp_path)
    assert len(found) >= 30
    for outcome in found:
        assert outcome["line"] is not None, outcome
        assert "\n" not in outcome["line"], outcome
        assert outcome["file"] in outcome["line"], outcome
        assert outcome["seconds"] < 10, outcome
        assert outcome["peak"] < 1024, outcome
