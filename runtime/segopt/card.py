"""The card: everything that the runtime must know of a model file.

It is JSON, kept in the ONNX file's metadata under :data:`METADATA_KEY`, so that nothing is guessed from file
names. ``segopt info FILE`` prints it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from segopt.errors import CardError

SCHEMA = 1
METADATA_KEY = "segopt.card"

Mode = Literal["semantic", "instance", "panoptic"]
MODES: tuple[Mode, ...] = get_args(Mode)

_T = TypeVar("_T")

PasteRule = Literal["torchvision", "detectron2"]
"""How a 28x28 mask is laid onto pixels; see :mod:`segopt.masks`."""


_NO_CLASS = frozenset({"", "background", "void", "unlabeled", "unlabelled", "ignore", "n/a"})


def plain_name(name: str) -> str:
    """A class's name as data sets are compared by it: ``Traffic_Light`` is ``traffic light``."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def is_no_class(name: str) -> bool:
    """Whether a class's name says that it is none: background, void, torchvision's N/A."""
    return plain_name(name) in _NO_CLASS


@dataclass(frozen=True)
class Category:
    """One class of a model: what a pixel or a detection can be."""

    id: int
    name: str
    is_thing: bool
    color: tuple[int, int, int]
    """RGB, 0 to 255."""


@dataclass(frozen=True)
class WeightsOrigin:
    """Where a network's weights came from."""

    name: str
    """``COCO_V1`` of torchvision, the file's name, or ``random (seed 0)``."""
    sha256: str
    """Of the weights file; of the tensors' bytes where there was no file."""

    @property
    def is_random(self) -> bool:
        """Whether the network was never trained: its answers mean nothing."""
        return self.name.startswith("random")


@dataclass(frozen=True)
class Card:
    """What a model file says of itself. Field by field it is the JSON in the file."""

    mode: Mode
    networks: Mapping[str, str]
    """Branch (``semantic``, ``instance``) to the name of its network."""
    canvas: tuple[int, int]
    """Height and width of the input, in pixels."""
    batch: int
    precision: str
    categories: Mapping[Mode, tuple[Category, ...]]
    """For each view that the model can give, its classes. ``semantic``: ids are indices of the label map."""
    weights: Mapping[str, WeightsOrigin]
    """Branch to the origin of its weights."""
    stuff_classes: Mapping[int, int] = field(default_factory=dict)
    """Panoptic only: index in the semantic map to category id. What is not in it is not stuff."""
    max_detections: int = 0
    mask_paste: PasteRule = "torchvision"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """RGB, of pixels scaled to 0..1. Normalisation is in the graph; the letterbox pads with this colour."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    target: str = "cpu"
    """What the graph was made fast for, ``cpu`` or ``tensorrt``; it runs on both."""
    score_threshold: float = 0.5
    overlap_threshold: float = 0.5
    stuff_area: int = 4096
    versions: Mapping[str, str] = field(default_factory=dict)
    """Software that made the file, by name."""
    half_share: float = 0.0
    """Share of convolutions, deconvolutions and fully connected layers that compute in half precision."""
    float_layers: tuple[str, ...] = ()
    """Names of the layers that were kept in FP32 in a half-precision file, since half cannot hold their values."""
    schema: int = SCHEMA

    @property
    def views(self) -> tuple[Mode, ...]:
        """The modes whose results this model can give: its own first."""
        return (self.mode, *(mode for mode in MODES if mode != self.mode and mode in self.categories))

    def to_json(self) -> str:
        """The card as one JSON object."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Card:
        """Read a card.

        Args:
            text: what :meth:`to_json` wrote.
            source: the file's name, for messages.

        Raises:
            CardError: the text is no card, or one of a schema that this version does not know.
        """
        try:
            data = json.loads(text)
            schema = data["schema"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise CardError(f"{source}: its segopt card is damaged; export the model again") from None
        if schema != SCHEMA:
            raise CardError(
                f"{source}: its card has schema {str(schema)[:20]!r} and this segopt reads {SCHEMA}; "
                "export the model again, or install the segopt that made it (`versions` in the card)"
            )
        try:
            return _card_from(data)
        except KeyError as error:
            what = f"it has no {error.args[0]!r}"
        except (ValueError, TypeError, AttributeError) as error:
            what = " ".join(str(error).split())[:200]
        raise CardError(f"{source}: its segopt card is damaged ({what}); export the model again")


def _card_from(data: Mapping[str, Any]) -> Card:
    """Build a card from JSON, believing nothing: the file may be damaged or made by others."""
    height, width = data["canvas"]
    card = Card(
        mode=_one_of(MODES, data["mode"], "mode"),
        networks=_texts(data["networks"], "networks"),
        canvas=(_whole(height, 1, "canvas height"), _whole(width, 1, "canvas width")),
        batch=_whole(data["batch"], 1, "batch"),
        precision=_text(data["precision"], "precision"),
        categories={
            _one_of(MODES, view, "view"): tuple(_category(entry) for entry in entries)
            for view, entries in data["categories"].items()
        },
        weights={
            _text(branch, "branch"): WeightsOrigin(
                _text(origin["name"], "name"), _text(origin["sha256"], "sha256")
            )
            for branch, origin in data["weights"].items()
        },
        stuff_classes={
            _whole(int(index), 0, "stuff index", 255): _whole(category, 0, "stuff category")
            for index, category in data["stuff_classes"].items()
        },
        max_detections=_whole(data["max_detections"], 0, "max_detections"),
        mask_paste=_one_of(get_args(PasteRule), data["mask_paste"], "mask_paste"),
        mean=_rgb_fractions(data["mean"], "mean"),
        std=_rgb_fractions(data["std"], "std"),
        target=_one_of(("cpu", "tensorrt"), data["target"], "target"),
        score_threshold=_fraction(data["score_threshold"], "score_threshold"),
        overlap_threshold=_fraction(data["overlap_threshold"], "overlap_threshold"),
        stuff_area=_whole(data["stuff_area"], 0, "stuff_area"),
        versions=_texts(data["versions"], "versions"),
        # Files older than half precision have neither.
        half_share=_fraction(data.get("half_share", 0.0), "half_share"),
        float_layers=_names(data.get("float_layers", []), "float_layers"),
    )
    missing = {card.mode, *(("semantic", "instance") if card.mode == "panoptic" else ())} - set(card.categories)
    if missing:
        raise ValueError(f"it has no {', '.join(sorted(missing))} classes")
    return card


def _category(entry: Mapping[str, Any]) -> Category:
    red, green, blue = (_whole(level, 0, "colour", 255) for level in entry["color"])
    if not isinstance(entry["is_thing"], bool):
        raise ValueError(f"is_thing {entry['is_thing']!r}")
    return Category(
        _whole(entry["id"], 0, "class id"),
        _text(entry["name"], "class name"),
        entry["is_thing"],
        (red, green, blue),
    )


def _one_of(choices: tuple[_T, ...], value: Any, what: str) -> _T:
    for choice in choices:
        if choice == value:
            return choice
    raise ValueError(f"{what} {value!r}")


def _whole(value: Any, low: int, what: str, high: int = 2**31 - 1) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{what} {value!r}")
    return value


def _fraction(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError(f"{what} {value!r}")
    return float(value)


def _rgb_fractions(values: Any, what: str) -> tuple[float, float, float]:
    red, green, blue = (_fraction(value, what) for value in values)
    return red, green, blue


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} {value!r}")
    value.encode()  # JSON can hold half of a surrogate pair, which no terminal or file takes.
    return value


def _names(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{what} {values!r}")
    return tuple(_text(name, what) for name in values)


def _texts(values: Mapping[str, Any], what: str) -> dict[str, str]:
    return {_text(name, what): _text(value, what) for name, value in values.items()}
