"""What the pages say of the program is so: its commands, messages, variables, and figures."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
import typer

import clips
import segopt
import tiny
from segopt.cli.main import VERBS, make_app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = typer.main.get_command(make_app()).commands
SOURCES = [path for folder in ("runtime", "export", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]


def text_of(page):
    return page.read_text(encoding="utf-8")


def notebook_commands():
    notebook = json.loads(text_of(ROOT / "docs" / "tutorial-demo.ipynb"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    return [("tutorial-demo.ipynb", source[1:]) for source in sources if source.startswith("!segopt")]


def commands():
    """Command lines of segopt in the blocks of all pages, with the lines that continue them."""
    for page in PAGES:
        for _, block in FENCE.findall(text_of(page)):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.removeprefix("$ ")
                if words.startswith("segopt ") and words.split()[1] != "--help":
                    yield page.name, words
    yield from notebook_commands()


@pytest.mark.parametrize("line", [pytest.param(line, id=f"{page}: {line}") for page, line in commands()])
def test_every_command_is_one_that_the_program_takes(line):
    line = re.split(r"  #| \| | > ", line)[0]
    _, verb, *arguments = shlex.split(line)
    if verb == "--install-completion" or {"--help", "--help-all"} & set(arguments) or verb == "VERB":
        return
    assert COMMANDS[verb].make_context(verb, arguments).params


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_pages_is_python(page):
    for language, block in FENCE.findall(text_of(page)):
        if language == "python":
            ast.parse(block)


def test_messages_to_look_up_are_those_of_the_program():
    source = re.sub(r'"\s*\n\s*f?"', "", "".join(text_of(path) for path in SOURCES))
    cells = re.findall(r"^\| (`.*?) \|", text_of(ROOT / "docs" / "troubleshooting.md"), re.MULTILINE)
    parts = [part for cell in cells for part in re.findall(r"`([^`]*)`", cell)]
    assert len(parts) > 30
    assert [part for part in parts if part not in source] == []


def test_environment_variables_are_all_described_and_all_real():
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py"), ROOT / "Makefile"]
    read = {name for path in files for name in re.findall(r"\bSEGOPT_[A-Z_]+[A-Z]\b", text_of(path))}
    described = set(re.findall(r"`(SEGOPT_[A-Z_]+)`", text_of(ROOT / "docs" / "environment.md")))
    assert described == read


def rows():
    """The README's table of networks: name, published, and what is measured."""
    section = text_of(ROOT / "README.md").split("\n## Networks\n")[1].split("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| ") and "`" in line:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_latencies_of_the_readme_are_those_of_the_page_on_measurements():
    measured = text_of(ROOT / "docs" / "measured.md")
    found = [number for row in rows() for cell in row[3:] for number in re.findall(r"[\d.]+(?= ms)", cell)]
    assert len(found) >= 10
    assert [
        number for number in found if not re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", measured)
    ] == []


def test_published_figures_of_torchvision_are_torchvisions():
    models = pytest.importorskip("torchvision.models")
    checked = 0
    for name, _, published, *_ in rows():
        name = name.strip("`")
        if name in models.list_models() and published:
            metrics = models.get_model_weights(name).DEFAULT.meta["_metrics"]
            (figures,) = metrics.values()
            wanted = f"mIoU {figures['miou']}" if "miou" in figures else f"AP {figures['mask_map']}"
            assert published == wanted
            checked += 1
    assert checked == 6


def test_the_sink_that_shows_how_to_write_one_works(tmp_path):
    page = text_of(ROOT / "CONTRIBUTING.md")
    (example,) = [block for language, block in FENCE.findall(page) if language == "python"]
    names = {}
    exec(compile(example, "CONTRIBUTING.md", "exec"), names)
    video = clips.clip(tmp_path / "street.mp4", 3)
    engine = tiny.panoptic_engine(tmp_path / "engine.onnx")
    with segopt.load(engine) as segmenter, names["CountsCsv"](tmp_path / "counts.csv") as sink:
        for item in segopt.stream(segmenter, video):
            sink.write(item)
    lines = (tmp_path / "counts.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["frame,time,objects", "0,0.000,2", "1,0.080,2", "2,0.160,2"]
    assert sink.count == 3


def test_every_verb_has_a_page_that_shows_it():
    shown = {line.split()[1] for _, line in commands()}
    assert set(VERBS) <= shown
