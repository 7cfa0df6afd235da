"""What a segment is: one object or one region of a panoptic map."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map."""

    id: int
    """Its value in the segment map; 1 and up."""
    category_id: int
    is_thing: bool
    score: float
    """The detection's score for a thing; 1.0 for stuff."""
    area: int
    """Number of its pixels."""
    name: str = ""
    """Of its category, once it is part of a :class:`~segopt.results.PanopticResult`; the merge knows no names."""
    track: int | None = None
    """Number of the object in the whole video, which is ``id`` then; None for stuff, and where nothing tracks."""
    age: float | None = None
    """Seconds since the object was first seen; None as ``track``."""
    shade: int | None = None
    """Which shade of its class's color is its own for life; None as ``track``."""
