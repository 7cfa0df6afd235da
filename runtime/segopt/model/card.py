"""The card: everything that the runtime must know of a model file.

It is JSON, kept in the ONNX file's metadata under :data:`METADATA_KEY`, so that nothing is guessed from file
names. ``segopt info FILE`` prints it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from segopt.errors import CardError, what_is_wrong
from segopt.model.categories import Category
from segopt.model.fields import flag, fraction, one_of, rgb_fractions, text, texts, texts_by_name, whole
from segopt.model.int8_choice import Int8Choice, int8_choice

SCHEMA = 3
"""The newest. A file is written with the lowest that has all of its members, which older versions read."""
METADATA_KEY = "segopt.card"
MAX_SLOTS = 128
"""Of queries: a slot is seven bits of a byte."""
_LONGEST = 1 << 23
"""Characters of a card: forty thousand classes."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""RGB, of pixels scaled to 0..1. All of torchvision's segmentation networks are trained with these."""

Mode = Literal["semantic", "instance", "panoptic"]
MODES: tuple[Mode, ...] = get_args(Mode)


BoxPaste = Literal["torchvision", "detectron2"]
CanvasPaste = Literal["canvas", "canvas-box"]
PasteRule = Literal[BoxPaste, CanvasPaste]
"""How a mask is laid onto pixels: that of its box, or one over the whole canvas; see :mod:`segopt.masks.paste`."""


ResizeRule = Literal["letterbox", "stretch"]
"""How a frame is brought to the canvas; see :mod:`segopt.letterbox`."""


Merge = Literal["boxes", "queries"]
"""How a network's outputs become segments: boxes with masks and a label map
(:func:`segopt.merge.merge_panoptic`), or queries that are a segment each (:func:`segopt.merge.merge_queries`)."""


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
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """RGB, of pixels scaled to 0..1. Normalization is in the graph; the letterbox pads with this color."""
    std: tuple[float, float, float] = IMAGENET_STD
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
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Branch to what its network does and its weights do not hold (anchors, thresholds, mean), in torchvision's
    words; files from before this was recorded have none."""
    merge: Merge = "boxes"
    padding: tuple[int, int, int] | None = None
    """RGB, 0 to 255, of what lies beside a frame on the canvas; None is the mean color."""
    resize: ResizeRule = "letterbox"
    mask_size: tuple[int, int] | None = None
    """Height and width in cells of masks over the whole canvas; None where masks lie in their boxes."""
    query_score: float = 0.8
    """Queries: one is kept whose class has a larger probability. It is fixed in the graph."""
    mask_share: float = 0.8
    """Queries: one survives that owns more than this share of its own mask."""
    map_scale: int = 1
    """Queries: sides of the graph's map in those of the canvas."""
    int8: Int8Choice | None = None
    """How the layers of an INT8 file were chosen; None where no loss was asked for."""

    @property
    def schema(self) -> int:
        """The lowest schema that has all of this card's members."""
        if self.merge == "queries":
            return 2
        plain = self.mask_paste in get_args(BoxPaste) and self.resize == "letterbox" and self.padding is None
        return 1 if plain else 3

    @property
    def padding_color(self) -> tuple[int, int, int]:
        """RGB, 0 to 255: what lies beside a frame on the canvas."""
        red, green, blue = self.padding or (round(255 * mean) for mean in self.mean)
        return red, green, blue

    @property
    def doubt(self) -> tuple[str, str]:
        """What is wrong where a result is not ``converged``, and the export's options that mend it."""
        if self.merge == "queries":
            return "had more segments than the model has slots, so some may be missing", "--max-detections"
        return (
            "the model's suppression did not converge, so some boxes may be wrong",
            "--suppression-steps and --candidates",
        )

    @property
    def views(self) -> tuple[Mode, ...]:
        """The modes whose results this model can give: its own first."""
        return (self.mode, *(mode for mode in MODES if mode != self.mode and mode in self.categories))

    def to_json(self) -> str:
        """The card as one JSON object."""
        return json.dumps(self.members(), ensure_ascii=False)

    def members(self) -> dict[str, Any]:
        """The card as plain values. Members that came later are left out where they say nothing."""
        members = dataclasses.asdict(self)
        for name in ("settings", "int8"):
            if not members[name]:
                del members[name]
        for name in set(_NEWER) - set(_MEMBERS[self.schema]):
            del members[name]
        return {**members, "schema": self.schema}

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Card:
        """Read a card.

        Args:
            text: what :meth:`to_json` wrote.
            source: the file's name, for messages.

        Raises:
            CardError: the text is no card, or one of a schema that this version does not know.
        """
        if len(text) > _LONGEST:
            raise CardError(f"{source}: its segopt card has {len(text)} characters; export the model again")
        try:
            data = json.loads(text)
            schema = data["schema"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise CardError(f"{source}: its segopt card is damaged; export the model again") from None
        if type(schema) is not int or not 1 <= schema <= SCHEMA:
            raise CardError(
                f"{source}: its card has schema {str(schema)[:20]!r} and this segopt reads 1 to {SCHEMA}; "
                "export the model again, or install the segopt that made it (`versions` in the card)"
            )
        try:
            return _card_from(data)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            what = what_is_wrong(error)
        raise CardError(f"{source}: its segopt card is damaged ({what}); export the model again")


_OF_BOXES = ("mask_paste", "score_threshold", "overlap_threshold", "stuff_area")
_MEMBERS = {
    1: _OF_BOXES,
    2: ("merge", "padding", "query_score", "mask_share", "map_scale"),
    3: (*_OF_BOXES, "padding", "resize", "mask_size"),
}
"""By schema, the members that not all schemas have."""
_NEWER = {name for names in _MEMBERS.values() for name in names}


def _card_from(data: Mapping[str, Any]) -> Card:
    """Build a card from JSON, believing nothing: the file may be damaged or made by others."""
    height, width = data["canvas"]
    own: dict[str, Any] = _READERS[data["schema"]](data)
    card = Card(
        mode=one_of(MODES, data["mode"], "mode"),
        networks=texts_by_name(data["networks"], "networks"),
        canvas=(whole(height, 1, "canvas height"), whole(width, 1, "canvas width")),
        batch=whole(data["batch"], 1, "batch"),
        precision=text(data["precision"], "precision"),
        categories={
            one_of(MODES, view, "view"): tuple(_category(entry) for entry in entries)
            for view, entries in data["categories"].items()
        },
        weights={
            text(branch, "branch"): WeightsOrigin(text(origin["name"], "name"), text(origin["sha256"], "sha256"))
            for branch, origin in data["weights"].items()
        },
        stuff_classes={
            whole(int(index), 0, "stuff index", 255): whole(category, 0, "stuff category")
            for index, category in data["stuff_classes"].items()
        },
        max_detections=whole(data["max_detections"], 0, "max_detections"),
        mean=rgb_fractions(data["mean"], "mean"),
        std=rgb_fractions(data["std"], "std"),
        target=one_of(("cpu", "tensorrt"), data["target"], "target"),
        versions=texts_by_name(data["versions"], "versions"),
        # Files older than half precision have neither.
        half_share=fraction(data.get("half_share", 0.0), "half_share"),
        float_layers=texts(data.get("float_layers", []), "float_layers"),
        settings={text(branch, "branch"): dict(values) for branch, values in data.get("settings", {}).items()},
        int8=None if data.get("int8") is None else int8_choice(data["int8"]),
        **own,
    )
    missing = {card.mode, *(("semantic", "instance") if card.mode == "panoptic" else ())} - set(card.categories)
    if missing:
        raise ValueError(f"it has no {', '.join(sorted(missing))} classes")
    return card


def _of_boxes(data: Mapping[str, Any], rules: tuple[Any, ...] = get_args(BoxPaste)) -> dict[str, Any]:
    return {
        "mask_paste": one_of(rules, data["mask_paste"], "mask_paste"),
        "score_threshold": fraction(data["score_threshold"], "score_threshold"),
        "overlap_threshold": fraction(data["overlap_threshold"], "overlap_threshold"),
        "stuff_area": whole(data["stuff_area"], 0, "stuff_area"),
    }


def _of_any_network(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_of_boxes(data, get_args(PasteRule)),
        "padding": _padding(data["padding"]),
        "resize": one_of(get_args(ResizeRule), data["resize"], "resize"),
        "mask_size": _mask_size(data["mask_size"], over_canvas=data["mask_paste"] in get_args(CanvasPaste)),
    }


def _mask_size(cells: Any, *, over_canvas: bool) -> tuple[int, int] | None:
    if not over_canvas:
        return None
    height, width = (whole(side, 1, "mask_size", 4096) for side in cells)
    return height, width


def _padding(color: Any) -> tuple[int, int, int] | None:
    if color is None:
        return None
    red, green, blue = (whole(level, 0, "padding", 255) for level in color)
    return red, green, blue


def _of_queries(data: Mapping[str, Any]) -> dict[str, Any]:
    if data["mode"] != "panoptic":
        raise ValueError(f"mode {data['mode']!r} of a query network")
    whole(data["max_detections"], 1, "max_detections", MAX_SLOTS)
    return {
        "merge": one_of(("queries",), data["merge"], "merge"),
        "padding": _padding(data["padding"]),
        "query_score": fraction(data["query_score"], "query_score"),
        "mask_share": fraction(data["mask_share"], "mask_share"),
        "map_scale": whole(data["map_scale"], 1, "map_scale", 4),
    }


_READERS = {1: _of_boxes, 2: _of_queries, 3: _of_any_network}


def _category(entry: Mapping[str, Any]) -> Category:
    red, green, blue = (whole(level, 0, "color", 255) for level in entry["color"])
    return Category(
        whole(entry["id"], 0, "class id"),
        text(entry["name"], "class name"),
        flag(entry["is_thing"], "is_thing"),
        (red, green, blue),
    )
