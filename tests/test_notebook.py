"""The notebook runs, and says what is written under its cells."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "tools"))

import notebook

PATH = Path(__file__).parents[1] / "docs" / "tutorial-demo.ipynb"


def without_what_changes(text):
    text = re.sub(r"\d+ s\b", "N s", text)
    # Figures in percent, and rounding: another PyTorch or ONNX Runtime may tip a pixel.
    return re.sub(r"within [\d.e-]+|\d+\.\d{2}\b", "N", re.sub(r" +", " ", text))


@pytest.mark.slow
def test_every_cell_says_what_is_written_under_it(tmp_path):
    written = json.loads(PATH.read_text(encoding="utf-8"))
    found = notebook.run_cells(written, tmp_path)
    for cell, outputs in zip(notebook.code_cells(written), found, strict=True):
        expected = without_what_changes(notebook.texts(cell["outputs"]))
        assert without_what_changes(notebook.texts(outputs)) == expected, "".join(cell["source"])


def test_every_code_cell_has_its_outputs_and_its_number():
    cells = notebook.code_cells(json.loads(PATH.read_text(encoding="utf-8")))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells)
