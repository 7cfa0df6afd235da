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

from segopt.errors import CardError

SCHEMA = 1
METADATA_KEY = "segopt.card"

Mode = Literal["semantic", "instance", "panoptic"]
MODES: tuple[Mode, ...] = get_args(Mode)

PasteRule = Literal["torchvision", "detectron2"]
"""How a 28x28 mask is laid onto pixels; see :mod:`segopt.masks`."""


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
    score_threshold: float = 0.5
    overlap_threshold: float = 0.5
    stuff_area: int = 4096
    versions: Mapping[str, str] = field(default_factory=dict)
    """Software that made the file, by name."""
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
        except (ValueError, TypeError, KeyError):
            raise CardError(f"{source}: its segopt card is damaged; export the model again") from None
        if schema != SCHEMA:
            raise CardError(
                f"{source}: its card has schema {schema!r} and this segopt reads {SCHEMA}; "
                "export the model again, or install the segopt that made it (`versions` in the card)"
            )
        try:
            return _card_from(data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CardError(f"{source}: its segopt card is damaged ({error}); export the model again") from None


def _card_from(data: dict[str, Any]) -> Card:
    known = {f.name for f in dataclasses.fields(Card)}
    values = {name: value for name, value in data.items() if name in known}
    height, width = values["canvas"]
    values["canvas"] = (int(height), int(width))
    if values["mode"] not in MODES:
        raise ValueError(f"mode {values['mode']!r}")
    values["categories"] = {
        view: tuple(Category(**{**entry, "color": tuple(entry["color"])}) for entry in entries)
        for view, entries in values["categories"].items()
    }
    values["weights"] = {branch: WeightsOrigin(**origin) for branch, origin in values["weights"].items()}
    values["stuff_classes"] = {int(index): int(cid) for index, cid in values["stuff_classes"].items()}
    values["mean"] = tuple(values["mean"])
    values["std"] = tuple(values["std"])
    return Card(**values)
