"""The pictures that everybody is timed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segopt.errors import SourceBrokenError, SourceError
from segopt.frame import Frame
from segopt.letterbox import Letterbox
from segopt.sources import open_source
from segopt_bench.scenes import Scene

FIRST_SCENE = 0


@dataclass(frozen=True)
class Pictures:
    """Frames in memory."""

    frames: tuple[Frame, ...]
    """uint8 BGR [h, w, 3] each."""
    origin: str
    """For people: where they came from."""
    notes: tuple[str, ...] = ()

    def batches(self, size: int) -> list[tuple[Frame, ...]]:
        """As many batches of ``size`` frames as there are frames; each starts at the next frame."""
        count = len(self.frames)
        return [tuple(self.frames[(i + k) % count] for k in range(size)) for i in range(count)]

    def fit(self, canvas: tuple[int, int]) -> str:
        """For people: their sizes, and how they lie on a canvas (height, width)."""
        sizes = sorted({frame.shape[:2] for frame in self.frames})
        shares = [_share(Letterbox.fit((height, width), canvas)) for height, width in sizes]
        shown = ", ".join(f"{width}x{height}" for height, width in sizes[:3]) + (", ..." if sizes[3:] else "")
        if min(shares) == 1:
            return f"{shown}, which fill the canvas"
        return f"{shown}, which fill at least {min(shares):.0%} of the canvas; the rest is padding"


def _share(letterbox: Letterbox) -> float:
    (height, width), (content_height, content_width) = letterbox.canvas, letterbox.content
    return content_height * content_width / (height * width)


def scene_pictures(count: int, size: tuple[int, int]) -> Pictures:
    """Synthetic street scenes of a size (height, width)."""
    frames = tuple(Scene(FIRST_SCENE + i).render(*size).frame for i in range(count))
    return Pictures(frames, f"{count} synthetic street scenes, seeds {FIRST_SCENE} to {FIRST_SCENE + count - 1}")


def source_pictures(spec: str, count: int) -> Pictures:
    """The first frames of a picture, folder or video; of many pictures, some spread over all of them.

    Raises:
        SourceError: there is no such source, or nothing in it can be read.
    """
    with open_source(spec) as source:
        total = source.frame_count
        live = source.live
    if live:
        raise SourceError(f"{spec}: is live, and every model must get the same frames; give pictures or a video")
    stride = max(1, total // count) if total else 1
    frames: list[Frame] = []
    notes: Sequence[str] = ()
    with open_source(spec, stride=stride, max_frames=count) as source:
        try:
            for frame in source:
                frames.append(frame.image)
        except SourceBrokenError as error:
            notes = (str(error),)
    if not frames:
        raise SourceError(f"{spec}: {notes[0] if notes else 'holds no frame'}; give other pictures")
    return Pictures(tuple(frames), f"{len(frames)} frames of {source.name}", tuple(notes))
