"""Class names, and what is thing or stuff."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segopt.draw.palette import class_colors
from segopt.errors import ExportError
from segopt.model.card import Mode
from segopt.model.categories import Category, is_no_class, plain_name

if TYPE_CHECKING:
    from segopt_export.networks.table import Branch, Network

DEMO_FOLDER = Path(__file__).parent / "demo_weights"
MAX_ID = 10**9
"""Of a class: labels are 32-bit integers in the graph, and new ids follow the largest."""
COCO_PANOPTIC = Path(__file__).parent / "coco_panoptic.json"
"""COCO's 133 categories (``panoptic_coco_categories.json`` of panopticapi): 80 things, then 53 kinds of stuff."""


@dataclass(frozen=True)
class ClassEntry:
    """What a file says of one class; None where it does not."""

    name: str
    is_thing: bool | None = None
    color: tuple[int, int, int] | None = None
    id: int | None = None


ClassLists = tuple[list[ClassEntry], ...]
"""Of a network by index: its classes, and those of a panoptic network's semantic head."""


def default_classes(network: Network) -> list[ClassEntry]:
    """The classes that a network's default weights were trained for, background first."""
    return default_class_lists(network)[0]


def default_class_lists(network: Network) -> ClassLists:
    """The same for each number of classes that :meth:`segopt_export.networks.table.Network.build` takes."""
    if network.zoo_file is not None:
        return coco_class_lists(network.branch)
    if network.branch == "panoptic":
        return demo_panoptic_classes()
    if network.default_weights is None:
        return (demo_classes(network),)
    names: Sequence[str] = network.default_weights.meta["categories"]
    # The semantic weights know the 20 classes of Pascal VOC, every one of them a thing.
    return ([ClassEntry(name, is_thing=not is_no_class(name)) for name in names],)


def coco_class_lists(branch: Branch) -> ClassLists:
    """COCO's classes as Detectron2 orders them, with COCO's ids."""
    detector, semantic = split_panoptic(coco_panoptic_entries())
    return (detector, semantic) if branch == "panoptic" else (detector,)


def coco_panoptic_entries() -> list[ClassEntry]:
    """COCO's 133 panoptic classes, things first, with COCO's ids."""
    return [_entry(item, COCO_PANOPTIC) for item in json.loads(COCO_PANOPTIC.read_text(encoding="utf-8"))]


def demo_panoptic_classes() -> ClassLists:
    """The things and the stuff of the synthetic street scenes."""
    things, both = (
        [_entry(item, DEMO_FOLDER) for item in json.loads((DEMO_FOLDER / name).read_text(encoding="utf-8"))]
        for name in ("instance.json", "semantic.json")
    )
    return split_panoptic([*things, *(entry for entry in both if not entry.is_thing)])


def split_panoptic(entries: Sequence[ClassEntry]) -> tuple[list[ClassEntry], list[ClassEntry]]:
    """Categories of both kinds -> those of Panoptic FPN's detector and of its semantic head, in their order."""
    things = [entry for entry in entries if entry.is_thing]
    stuff = [entry for entry in entries if not entry.is_thing]
    return [ClassEntry("background"), *things], [ClassEntry("things", is_thing=True), *stuff]


def demo_classes(network: Network) -> list[ClassEntry]:
    """The classes of the demo weights: those of the synthetic street scenes."""
    content = json.loads((DEMO_FOLDER / f"{network.branch}.json").read_text(encoding="utf-8"))
    entries = [_entry(item, DEMO_FOLDER) for item in content]
    return [ClassEntry("background"), *entries] if network.branch == "instance" else entries


def numbered_classes(count: int) -> list[ClassEntry]:
    """Names for classes of which nothing is known."""
    return [ClassEntry("background" if i == 0 else f"class {i}") for i in range(count)]


def read_classes(path: Path, count: int, branch: Branch) -> list[ClassEntry]:
    """Class names from a json file.

    Args:
        path: a list of names; or COCO's list of categories (``[{"id", "name", "isthing", "color"}, ...]``, of
            which all but ``name`` may be missing), bare or under ``categories``.
        count: how many classes the network has.
        branch: a detector's list may leave its background, class 0, out.

    Raises:
        ExportError: the file is missing, no such list, or of another length.
    """
    entries = read_entries(path)
    if branch == "instance" and len(entries) == count - 1:
        entries.insert(0, ClassEntry("background", is_thing=False))
    if len(entries) != count:
        raise ExportError(
            f"{path}: has {len(entries)} classes and the weights have {count}; give one name for each"
        )
    return entries


def read_entries(path: Path) -> list[ClassEntry]:
    """As :func:`read_classes`, of any length."""
    try:
        # Windows' editors begin a file with a byte-order mark.
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); give a json file of class names") from None
    except UnicodeDecodeError:
        raise ExportError(f"{path}: is no text in UTF-8; save it as UTF-8, a json list of class names") from None
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path}: is no json ({error}); give a list of class names") from None
    if isinstance(content, dict) and "categories" in content:
        content = content["categories"]
    if not isinstance(content, list) or not content:
        raise ExportError(f"{path}: must be a list of class names, or of COCO categories")
    return [_entry(item, path) for item in content]


def read_panoptic_classes(path: Path, counts: Sequence[int]) -> ClassLists:
    """Classes of a Panoptic FPN from one json file.

    Args:
        path: COCO's list of categories (see :func:`read_classes`), each with its ``isthing``, in the order of the
            network's own.
        counts: classes of the detector and of the semantic head.

    Raises:
        ExportError: the file is missing, no such list, or of another length.
    """
    entries = read_entries(path)
    if unsaid := [entry.name for entry in entries if entry.is_thing is None]:
        raise ExportError(
            f"{path}: does not say whether {unsaid[0]!r} is a thing; give each category its `isthing`"
        )
    lists = split_panoptic(entries)
    if [len(names) for names in lists] != list(counts):
        raise ExportError(
            f"{path}: has {len(lists[0]) - 1} things and {len(lists[1]) - 1} kinds of stuff, and the weights have "
            f"{counts[0] - 1} and {counts[1] - 1}; give one category for each"
        )
    return lists


def _entry(item: Any, path: Path) -> ClassEntry:
    if isinstance(item, str):
        return ClassEntry(_name(item, path))
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise ExportError(f"{path}: {json.dumps(item)[:60]} is neither a name nor a category with a `name`")
    name, is_thing, color, identity = (
        _name(item["name"], path),
        item.get("isthing"),
        item.get("color"),
        item.get("id"),
    )
    if is_thing not in (None, 0, 1) or isinstance(is_thing, float):
        raise ExportError(f"{path}: isthing of {name!r} is {json.dumps(is_thing)[:40]}, and must be 0 or 1")
    if color is not None and not (
        isinstance(color, list) and len(color) == 3 and all(_is_whole(level, 255) for level in color)
    ):
        raise ExportError(
            f"{path}: color of {name!r} is {json.dumps(color)[:40]}, and must be [red, green, blue], each 0 to 255"
        )
    if identity is not None and not _is_whole(identity, MAX_ID):
        raise ExportError(
            f"{path}: id of {name!r} is {json.dumps(identity)[:40]}, and must be a whole number from 0 to {MAX_ID}"
        )
    return ClassEntry(
        name,
        None if is_thing is None else bool(is_thing),
        None if color is None else (color[0], color[1], color[2]),
        identity,
    )


def _name(text: str, path: Path) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON can hold half of a surrogate pair, which no terminal or file takes.
        raise ExportError(f"{path}: the class name {text!r} is no text that can be written") from None
    return text


def _is_whole(value: Any, largest: int) -> bool:
    return type(value) is int and 0 <= value <= largest


def categories_of(entries: Sequence[ClassEntry], branch: Branch) -> tuple[Category, ...]:
    """A network's own classes. What is no class (background, N/A) is left out of a detector's.

    Ids are indices; a detector's are those of :func:`label_ids`.
    """
    colors = class_colors(len(entries))
    ids = label_ids(entries) if branch == "instance" else range(len(entries))
    categories = [
        Category(
            id=ids[i],
            name=entry.name,
            is_thing=branch == "instance" or bool(entry.is_thing),
            color=entry.color or colors[i],
        )
        for i, entry in enumerate(entries)
    ]
    if branch == "semantic":
        return tuple(categories)
    return tuple(category for category in categories[1:] if not is_no_class(category.name))


def label_ids(entries: Sequence[ClassEntry]) -> list[int]:
    """The category id of each of a detector's classes, background first: their own ids where all have one."""
    ids = [entry.id for entry in entries[1:]]
    known = [identity for identity in ids if identity is not None and identity > 0]
    if len(set(known)) < len(ids):
        return list(range(len(entries)))
    return [0, *known]


def panoptic_categories(
    semantic: Sequence[ClassEntry], things: Sequence[Category], source: str
) -> tuple[tuple[Category, ...], dict[int, int]]:
    """Categories of a fusion: the detector's things, and the semantic network's stuff.

    A semantic class is stuff where its file says so (``isthing: 0``); where the file says nothing, when it is no
    background and the detector knows no class of its name.

    Args:
        semantic: the semantic network's classes.
        things: the detector's categories.
        source: where ``semantic`` came from, for messages.

    Returns:
        The categories, and semantic index -> category id for the stuff.

    Raises:
        ExportError: a stuff class has the id of a thing.
    """
    thing_names = {plain_name(category.name) for category in things}
    colors = class_colors(len(semantic))
    used = {category.id for category in things}
    next_id = 1 + max(used, default=0)
    stuff: list[Category] = []
    ids: dict[int, int] = {}
    for i, entry in enumerate(semantic):
        known_thing = plain_name(entry.name) in thing_names if entry.is_thing is None else entry.is_thing
        if known_thing or is_no_class(entry.name):
            continue
        if entry.id in used:
            raise ExportError(f"{source}: stuff class {entry.name!r} has id {entry.id}, which another class has")
        identity = next_id if entry.id is None else entry.id
        used.add(identity)
        next_id = max(next_id, identity + 1)
        ids[i] = identity
        stuff.append(Category(identity, entry.name, False, entry.color or colors[i]))
    return (*things, *stuff), ids


def query_categories(entries: Sequence[ClassEntry]) -> tuple[Category, ...]:
    """The categories of a query network's classes, in the order of its class logits.

    Ids are the entries' own where all have one, and none twice; else 1, 2, 3 and so on.
    """
    own = [entry.id for entry in entries if entry.id]
    ids = own if len(set(own)) == len(entries) else list(range(1, len(entries) + 1))
    colors = class_colors(len(entries) + 1)[1:]
    return tuple(
        Category(ids[i], entry.name, bool(entry.is_thing), entry.color or colors[i])
        for i, entry in enumerate(entries)
    )


def query_views(categories: Sequence[Category]) -> tuple[dict[Mode, tuple[Category, ...]], dict[int, int]]:
    """The classes of a query network's views, and semantic index -> category id of the stuff.

    The label map of the semantic view has index 0 where no segment is, and then the classes in their order.
    """
    void = Category(0, "void", is_thing=False, color=(0, 0, 0))
    indexed = tuple(replace(category, id=i) for i, category in enumerate(categories, start=1))
    things = tuple(category for category in categories if category.is_thing)
    stuff = {i: category.id for i, category in enumerate(categories, start=1) if not category.is_thing}
    return {"semantic": (void, *indexed), "instance": things, "panoptic": tuple(categories)}, stuff


def note_on_stuff(categories: Sequence[Category], stuff: Mapping[int, int], network: str, weights: str) -> str:
    """What to tell of the stuff that a panoptic file knows.

    Args:
        categories: of the panoptic view.
        stuff: semantic index -> category id.
        network: that says what is stuff.
        weights: their name.
    """
    if not stuff:
        return (
            f"{network} with {weights} weights knows no stuff (sky, road, ...): the "
            "panoptic map will hold things alone; give a semantic network that was trained on stuff"
        )
    names = [category.name for category in categories if category.id in stuff.values()]
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{len(names)} semantic classes are stuff: {shown}"
