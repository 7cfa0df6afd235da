"""The view that is asked of a model, and the thresholds of it: what the card has, or what a user set."""

from __future__ import annotations

from dataclasses import dataclass

from segopt.errors import UsageError
from segopt.model.card import MODES, Card, Mode


@dataclass(frozen=True)
class Thresholds:
    """Limits that decoding and merging use."""

    score: float
    overlap: float
    stuff_area: int


def view_of(
    card: Card,
    source: object,
    mode: Mode | None = None,
    score_threshold: float | None = None,
    overlap_threshold: float | None = None,
    stuff_area: int | None = None,
) -> tuple[Mode, Thresholds]:
    """The view and the thresholds that :func:`load` with these options has.

    Args:
        card: of the model.
        source: the model file, for messages; the others are those of :func:`load`.

    Raises:
        UsageError: a view that the model does not have, or a threshold out of range.
    """
    view = _check_view(card, mode, source)
    return view, _THRESHOLDS[card.merge](card, source, score_threshold, overlap_threshold, stuff_area)


def _thresholds(
    card: Card, _: object, score: float | None, overlap: float | None, stuff_area: int | None
) -> Thresholds:
    return Thresholds(
        score=_fraction("score_threshold", score, card.score_threshold),
        overlap=_fraction("overlap_threshold", overlap, card.overlap_threshold),
        stuff_area=_area("stuff_area", stuff_area, card.stuff_area),
    )


def _fixed_thresholds(
    card: Card, path: object, score: float | None, overlap: float | None, stuff_area: int | None
) -> Thresholds:
    """A query network's thresholds are in its file; to ask for what it has is no fault."""
    if score not in (None, card.query_score):
        raise UsageError(
            f"{path}: score_threshold {score} cannot be set at run time: which query owns a pixel was decided in "
            f"the graph, among those above {card.query_score:g}; export it again with --settings FILE.json that "
            f'holds {{"query_score": {score}}}'
        )
    for name, value in (("overlap_threshold", overlap), ("stuff_area", stuff_area or None)):
        if value is not None:
            raise UsageError(
                f"{path}: {name} is for networks with boxes, and this one has queries; leave it out. A query "
                f"survives that owns more than {card.mask_share:g} of its mask, mask_share of an export's settings"
            )
    return Thresholds(score=card.query_score, overlap=card.mask_share, stuff_area=0)


_THRESHOLDS = {"boxes": _thresholds, "queries": _fixed_thresholds}


def _check_view(card: Card, mode: Mode | None, path: object) -> Mode:
    if mode is None:
        return card.mode
    if mode not in MODES:
        raise UsageError(f"mode {mode!r} is unknown; it is one of {', '.join(MODES)}")
    if mode not in card.views:
        raise UsageError(
            f"{path}: a model for {card.mode} segmentation has no {mode} view; it has {', '.join(card.views)}"
        )
    return mode


def _fraction(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if not 0 <= value <= 1:
        raise UsageError(f"{name} is {value}, and must be from 0 to 1")
    return value


def _area(name: str, value: int | None, default: int) -> int:
    if value is None:
        return default
    if value < 0:
        raise UsageError(f"{name} is {value}, and must be 0 or more pixels")
    return value
