"""Imports go down or stay on their floor, and never up: the plan of the house cannot rot.

A floor is a row of rooms; a room is a module or a package. ``docs/architecture.md`` says what is in them.
"""

import ast
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOTS = [Path(__file__).parents[1] / folder for folder in ("runtime", "export", "bench")]

FLOORS = {
    "": [
        ["segopt"],
        ["segopt_export", "segopt_bench.scenes"],
        ["segopt_bench"],
        ["segopt.cli", "segopt.__main__"],
    ],
    "segopt": [
        [
            "errors",
            "device",
            "version",
            "native_library",
            "interrupts",
            "pixel_limit",
            "equality",
            "agreement",
            "frame",
            "segment",
            "driver",
            "processor",
        ],
        ["files", "cuda", "sources"],
        ["model"],
        ["inputs", "letterbox", "masks", "tensorrt", "thresholds"],
        ["query_merge"],
        ["decode", "merge", "draw", "coco", "supervision_forms", "backends", "doctor"],
        ["results_base"],
        ["results", "query_results", "stages", "builder", "model_folder"],
        ["segmenter", "sinks", "tracking"],
        ["preview"],
        ["pipeline"],
        ["labeling", "triton"],
        ["cli"],
        ["__main__"],
    ],
    "segopt_export": [
        ["packages", "plain_options", "rounding", "networks"],
        ["classes", "exported"],
        ["weights"],
        ["static"],
        ["onnx_file"],
        ["precision"],
        ["request", "wrapping"],
        ["settings_notes"],
        ["card"],
        ["exporter"],
        ["from_options"],
    ],
    "segopt_bench": [
        ["scenes"],
        ["requirements", "evaluation", "reporting"],
        ["pytorch", "demo", "training"],
        ["latency", "merging", "footprint", "tracking", "gpu_session", "labeling"],
        ["scale", "plan", "openvino_api", "objects", "bf16"],
    ],
}
"""From the ground up. The first is of whole houses."""


def modules():
    for root in ROOTS:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


NAMES = {name for name, _ in modules()}


def imported(statements):
    """Our modules that statements import, wherever in them, but for those that only a type checker sees."""
    for node in statements:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in NAMES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        hidden = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ("body", "orelse", "finalbody", "handlers", "cases"):
            if not (hidden and inner == "body"):
                yield from imported(getattr(node, inner, ()))


@cache
def imports():
    """What each module imports of ours."""
    return {
        name: sorted(set(imported(ast.parse(path.read_text(encoding="utf-8")).body)) & NAMES - {name})
        for name, path in modules()
    }


def floor(house, name):
    """The number of a module's floor in a house, by the longest name in the table; None where it has none."""
    prefix = f"{house}." if house else ""
    found = [
        (len(room), level)
        for level, rooms in enumerate(FLOORS[house])
        for room in rooms
        if f"{name}.".startswith(f"{prefix}{room}.")
    ]
    return max(found)[1] if found else None


@pytest.mark.parametrize("house", FLOORS)
def test_every_module_has_a_floor(house):
    own = [name for name in NAMES if (not house or name.startswith(f"{house}."))]
    assert [name for name in own if floor(house, name) is None] == []


@pytest.mark.parametrize("house", FLOORS)
def test_no_import_climbs(house):
    climbing = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if None not in (here := floor(house, name), there := floor(house, other)) and there > here
    ]
    assert climbing == []


def test_no_imports_go_in_a_circle():
    # A package's own __init__ stands for what it hands on.
    TopologicalSorter({name: set(others) for name, others in imports().items()}).prepare()


def test_rooms_do_not_import_each_other_in_a_circle():
    rooms = defaultdict(set)
    for name, others in imports().items():
        room = ".".join(name.split(".")[:2])
        rooms[room] |= {".".join(other.split(".")[:2]) for other in others} - {room}
    TopologicalSorter(rooms).prepare()


def test_no_module_is_longer_than_400_lines():
    long = {name: lines for name, path in modules() if (lines := len(path.read_text().splitlines())) > 400}
    assert long == {}
