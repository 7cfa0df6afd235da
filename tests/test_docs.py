"""What the pages name exists: files, headings, modules and their attributes, rooms."""

import importlib
import re
from pathlib import Path

import pytest

import segopt
from segopt.cli.main import VERBS
from segopt.model.card import METADATA_KEY
from test_floors import FLOORS

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "engines/README.md")),
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
GENERATED = {"commands.md": {f"segopt-{verb}" for verb in VERBS}}
"""Headings that the site's build writes."""
NEW_FILE = re.compile(r"^\| `[^`]*`, new.*$", re.MULTILINE)
"""A row of a table that says which file a change would bring."""
BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
DOTTED = re.compile(r"`(segopt(?:_export|_bench)?(?:\.\w+)+)(?:\(.*?\))?`")
RUN = re.compile(r"python -m (segopt[\w.]*)")
PYTHON_FILE = re.compile(r"`([\w/.]+\.py)`|python ([\w/.]+\.py)")


def exists(dotted):
    """Whether a name like ``package.module.Class.attribute`` is one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            continue
        for attribute in parts[count:]:
            # A field of a dataclass without a default is no attribute of its class.
            if attribute not in getattr(found, "__dataclass_fields__", ()) and not hasattr(found, attribute):
                return False
            found = getattr(found, attribute, None)
        return True
    return False


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | GENERATED.get(page.name, set())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_links_lead_to_files_and_headings(self, page):
        broken = []
        for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
            if "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(link)
        assert broken == []

    def test_names_of_modules_and_their_attributes_are_real(self, page):
        text = page.read_text(encoding="utf-8")
        names = {*DOTTED.findall(text), *RUN.findall(text)} - {METADATA_KEY}
        assert sorted(name for name in names if not exists(name)) == []

    def test_python_files_are_there(self, page):
        text = NEW_FILE.sub("", page.read_text(encoding="utf-8"))
        names = {path or script for path, script in PYTHON_FILE.findall(text)}
        folders = [ROOT / name for name in ("bench", "docs", "examples", "export", "runtime", "tests")]
        lost = [
            name
            for name in names
            if not (ROOT / name).exists() and not any(any(folder.rglob(f"**/{name}")) for folder in folders)
        ]
        assert lost == []


@pytest.mark.parametrize("name", ["segopt.nothing", "segopt.masks.paste.paste_musk", "segopt.nothing.at.all"])
def test_a_name_that_is_nowhere_is_found_out(name):
    assert not exists(name)


def test_every_room_has_a_line_in_the_architecture():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = " ".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    rooms = {room for house in FLOORS if house for floor in FLOORS[house] for room in floor} - {"__main__"}
    assert sorted(room for room in rooms if f"`{room}`" not in rows) == []


def test_every_page_is_in_the_navigation_and_nothing_else():
    named = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [page.name for page in (ROOT / "docs").glob("*.md")]
    # The notebook's page is written by the build.
    assert sorted(named) == sorted([*pages, "tutorial-demo.md"])


def test_the_api_page_has_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    described = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    public = {*segopt.__all__, *importlib.import_module("segopt_export").__all__}
    # A version, a module whose functions are there, and a union of results.
    assert public - described == {"__version__", "merge", "Result"}
    assert [name for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE) if not exists(name)] == []


def test_the_version_is_everywhere_the_same():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [segopt.__version__]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d\S*)", changelog, re.MULTILINE)[0] == segopt.__version__
