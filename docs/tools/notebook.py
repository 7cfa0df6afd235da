"""Runs the cells of a notebook and keeps what they print; and shows a notebook as a page.

    python docs/tools/notebook.py docs/tutorial-demo.ipynb

runs it in a folder of its own and writes the outputs into the file. No Jupyter is needed: a cell is Python, or one
command line that begins with ``!``. ``tests/test_notebook.py`` runs it again and compares.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WIDTH = 100


def run_cells(notebook: dict[str, Any], folder: Path) -> list[list[dict[str, Any]]]:
    """Run all code cells in order, in this folder; the outputs of each, as a notebook has them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        return [_run("".join(cell["source"]), names) for cell in code_cells(notebook)]
    finally:
        os.chdir(before)


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that are code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _run(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    if source.startswith("!"):
        return _stream(_command(source[1:]))
    body = ast.parse(source)
    last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(body, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last is not None else None
    return _stream(printed.getvalue()) + _shown(value)


def _command(line: str) -> str:
    """What a command prints; ``segopt`` and ``python`` are of this Python. stderr, with times, is left out."""
    words = shlex.split(line)
    heads = {"segopt": [sys.executable, "-m", "segopt"], "python": [sys.executable]}
    command = [*heads.get(words[0], words[:1]), *words[1:]]
    # The page says the same whatever else is installed here, and however fast that is.
    environment = {**os.environ, "COLUMNS": str(WIDTH), "SEGOPT_AUTO_OPENVINO": "off"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{line}: {done.stderr}")
    return "\n".join(row.rstrip() for row in done.stdout.splitlines()) + "\n"


def _stream(text: str) -> list[dict[str, Any]]:
    if not text:
        return []
    return [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}]


def _shown(value: Any) -> list[dict[str, Any]]:
    """A picture, uint8 [H, W, 3] in BGR, as JPEG; anything else as its text."""
    if value is None:
        return []
    data: dict[str, Any] = {"text/plain": [repr(value)]}
    if getattr(value, "ndim", 0) == 3:
        import cv2

        jpeg = cv2.imencode(".jpg", value, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        data = {"image/jpeg": base64.b64encode(jpeg).decode(), "text/plain": [f"<picture {value.shape}>"]}
    return [{"data": data, "execution_count": None, "metadata": {}, "output_type": "execute_result"}]


def texts(outputs: list[dict[str, Any]]) -> str:
    """What a cell says, pictures by their shape."""
    return "".join("".join(each["text"] if "text" in each else each["data"]["text/plain"]) for each in outputs)


def as_markdown(notebook: dict[str, Any], name: str) -> str:
    """The notebook as a page, with its outputs."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        shell = source.startswith("!")
        parts.append(f"```{'console' if shell else 'python'}\n{'$ ' + source[1:] if shell else source}\n```")
        for output in cell["outputs"]:
            if "text" in output:
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
            elif "image/jpeg" in output["data"]:
                parts.append(f"![What the cell shows](data:image/jpeg;base64,{output['data']['image/jpeg']})")
            else:
                parts.append(f"```text\n{''.join(output['data']['text/plain'])}\n```")
    parts.insert(1, f"The same as a notebook: [{name}]({name}).")
    return "\n\n".join(parts) + "\n"


def main(path: Path) -> None:
    """Run a notebook, and write its outputs into it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        found = run_cells(notebook, Path(folder))
    for number, (cell, outputs) in enumerate(zip(code_cells(notebook), found, strict=True), 1):
        for output in outputs:
            if "execution_count" in output:
                output["execution_count"] = number
        cell["outputs"], cell["execution_count"] = outputs, number
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
