"""What mkdocs needs to know of these pages: which are written from the program, and which links leave the site.

The pages are read in the repository, too, where a link to a file of it works. The site has no such file, and
keeps the text of the link alone. ``mkdocs.yml`` names this module.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from commands import describe_commands
from notebook import as_markdown

DOCS = Path(__file__).parents[1]
NOTEBOOK = "tutorial-demo.ipynb"
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_OUTSIDE = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(\.\./[^)]*\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the page of the notebook."""
    from mkdocs.structure.files import File

    notebook = json.loads((DOCS / NOTEBOOK).read_text(encoding="utf-8"))
    files.append(File.generated(config, "tutorial-demo.md", content=as_markdown(notebook, NOTEBOOK)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page as the site has it."""
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", describe_commands())
    if "<!-- card.schema.json -->" in markdown:
        markdown = markdown.replace("<!-- card.schema.json -->", describe_schema())
    if page.file.src_uri != "tutorial-demo.md":
        markdown = markdown.replace(f"({NOTEBOOK})", "(tutorial-demo.md)")
    return _outside_of_fences(markdown)


def _outside_of_fences(markdown: str) -> str:
    """Links that leave the folder of the pages become their text."""
    parts, last = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_OUTSIDE.sub(r"\1", markdown[last : fence.start()]), fence.group()]
        last = fence.end()
    return "".join([*parts, _OUTSIDE.sub(r"\1", markdown[last:])])


def describe_schema() -> str:
    """The members of a card, of its classes and of a sidecar's record, as tables."""
    schema = json.loads((DOCS / "card.schema.json").read_text(encoding="utf-8"))
    tables = [
        ("Members of a card", schema),
        ("Members of a class, in `categories`", schema["$defs"]["category"]),
        ("Members of `plan`, in a sidecar", schema["$defs"]["plan"]),
    ]
    return "\n\n".join(f"**{title}**\n\n{_table(part)}" for title, part in tables)


def _table(part: dict[str, Any]) -> str:
    rows = ["| member | type | meaning |", "|---|---|---|"]
    required = {*part["required"]}
    for name, member in part["properties"].items():
        about = member.get("description", "")
        # What the schema's number or the kind of file decides is said there.
        optional = "" if name in required or about.startswith(("Schema ", "Sidecars ")) else ", may be left out"
        rows.append(f"| `{name}` | {_type(member)}{optional} | {about} |")
    return "\n".join(rows)


def _type(member: dict[str, Any]) -> str:
    if "$ref" in member:
        return {
            "fraction": "number, 0 to 1",
            "rgb": "three numbers, 0 to 1",
            "color": "three whole numbers, 0 to 255",
        }.get(member["$ref"].rpartition("/")[2], "object")
    if "enum" in member:
        return " or ".join(f"`{json.dumps(value)}`" for value in member["enum"])
    return str(member.get("type", "array or null"))
