"""Where results go: overlay pictures or video, COCO results, COCO panoptic.

A sink gets each frame with its result, in order, and is a context manager. However a run ends, closing a sink
makes what it got so far complete and valid.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import get_args

from segopt.atomic import make_folder, write_image
from segopt.card import Mode
from segopt.coco import panoptic_document
from segopt.errors import SinkError, UsageError
from segopt.json_stream import JsonStream
from segopt.results import Frame, PanopticResult, Result
from segopt.sources.base import Source, SourceFrame
from segopt.sources.pictures import PictureSource

SAVES = ("overlay", "panoptic", "coco")
_FITTING: dict[Mode, tuple[str, ...]] = {
    "semantic": ("overlay", "coco"),
    "instance": ("overlay", "coco"),
    "panoptic": SAVES,
}
assert set(_FITTING) == set(get_args(Mode))

ImageIds = Callable[[SourceFrame], int]


@dataclass(frozen=True)
class Finished:
    """A frame and its result. The overlay is drawn once, when first asked for."""

    frame: SourceFrame
    result: Result

    @functools.cached_property
    def overlay(self) -> Frame:
        """The frame with its result drawn onto it, BGR uint8 [H, W, 3]."""
        return self.result.draw(self.frame.image)


class Sink(ABC):
    """Takes results. ``close`` may be repeated, and is called however the run ended."""

    label: str
    """What it writes, in a word or two."""
    path: Path
    """File or folder that it writes."""
    count: int = 0
    """Frames that are in it."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def write(self, item: Finished) -> None:
        """Take the next frame.

        Raises:
            SinkError: it cannot be written; the frames before it are safe.
        """

    def close(self) -> None:  # noqa: B027
        """Complete what was written.

        Raises:
            SinkError: it cannot be completed.
        """


class OverlayPictures(Sink):
    """One drawn picture for each picture of the source."""

    label = "overlay"

    def __init__(self, path: Path, source: PictureSource) -> None:
        """Write to the folder ``path``, or where the source is one picture, to the file ``path``."""
        self.path = path
        self._one_file = len(source.paths) == 1
        self._originals = {original.resolve() for original in source.paths}
        if not self._one_file:
            make_folder(path)

    def write(self, item: Finished) -> None:
        """Write ``<stem>.png`` for a PNG and ``<stem>.jpg`` for all else."""
        suffix = ".png" if item.frame.file_name.lower().endswith(".png") else ".jpg"
        target = self.path if self._one_file else self.path / f"{item.frame.name}{suffix}"
        if target.resolve() in self._originals:
            raise SinkError(f"{target}: is a picture of the source; give another folder with --output")
        write_image(target, item.overlay)
        self.count += 1


class OverlayVideo(Sink):
    """The drawn video, at the source's own times."""

    label = "overlay"

    def __init__(self, path: Path, source: Source) -> None:
        from segopt.video import VideoWriter

        self.path = path
        self._writer = VideoWriter(path, rate=source.rate or Fraction(25), tick=source.tick)

    def write(self, item: Finished) -> None:
        """Append the drawn frame."""
        self._writer.write(item.overlay, time=item.frame.time, duration=item.frame.duration)
        self.count += 1

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()


class CocoResults(Sink):
    """``coco.json``: the list that ``pycocotools.coco.COCO.loadRes`` reads."""

    label = "COCO results"

    def __init__(self, path: Path, image_ids: ImageIds) -> None:
        self.path = path
        self._image_ids = image_ids
        self._json = JsonStream(path)

    def write(self, item: Finished) -> None:
        """Append the entries of one frame."""
        self._json.extend(item.result.to_coco(self._image_ids(item.frame)))
        self.count += 1

    def close(self) -> None:
        """Complete the file."""
        self._json.close()


class CocoPanoptic(Sink):
    """``panoptic/*.png`` and ``panoptic.json`` next to it, as panopticapi reads them."""

    label = "COCO panoptic"

    def __init__(self, path: Path, image_ids: ImageIds) -> None:
        """Write to ``path``, which ends in ``.json``, and to the folder of the same stem."""
        self.path = path
        self.folder = path.with_suffix("")
        self._image_ids = image_ids
        self._json: JsonStream | None = None
        make_folder(self.folder)

    def write(self, item: Finished) -> None:
        """Write one PNG and append its annotation."""
        if not isinstance(item.result, PanopticResult):
            raise SinkError(f"{self.path}: needs panoptic results, and got {type(item.result).__name__}")
        if self._json is None:
            head = panoptic_document([], [], item.result.categories)
            fields = {name: value for name, value in head.items() if name not in ("images", "annotations")}
            self._json = JsonStream(self.path, key="annotations", head=fields)
        image_id = self._image_ids(item.frame)
        png_name = f"{item.frame.name}.png"
        png, annotation = item.result.to_coco_panoptic(image_id, png_name)
        write_image(self.folder / png_name, png)
        height, width = item.result.size
        image = {"id": image_id, "file_name": item.frame.file_name, "height": height, "width": width}
        self._json.extend([annotation], {"images": image})
        self.count += 1

    def close(self) -> None:
        """Complete the JSON file."""
        if self._json is not None:
            self._json.close()


def image_ids(source: Source) -> ImageIds:
    """COCO image ids: the number that a picture is named by, where all are and differ; else 1 and up.

    For video it is the frame's index.
    """
    if not isinstance(source, PictureSource):
        return lambda frame: frame.index
    stems = [path.stem for path in source.paths]
    if all(stem.isascii() and stem.isdigit() for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return lambda frame: numbers[frame.index]
    return lambda frame: frame.index + 1


def parse_saves(text: str) -> tuple[str, ...]:
    """Read ``--save``: names with commas between them, or ``none``.

    Raises:
        UsageError: a name that is unknown.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == ("none",):
        return ()
    for name in names:
        if name not in SAVES:
            raise UsageError(f"--save {name}: unknown; choose from {', '.join(SAVES)}, or none")
    return names


def make_sinks(saves: Collection[str], output: Path, source: Source, mode: Mode) -> list[Sink]:
    """The sinks for what is to be saved, in a folder that is made for them.

    Args:
        saves: some of :data:`SAVES`.
        output: folder; made with its parents when something is to be saved.
        source: where the frames come from; its name and kind name the files.
        mode: what the results will be.

    Raises:
        UsageError: something that results of this mode cannot give.
        SinkError: the folder cannot be written.
    """
    for save in saves:
        if save not in _FITTING[mode]:
            raise UsageError(
                f"--save {save}: {mode} results have no such form; choose from {', '.join(_FITTING[mode])}"
                + (", or use a panoptic model" if save == "panoptic" else "")
            )
    if saves:
        make_folder(output)
    sinks: list[Sink] = []
    try:
        if "overlay" in saves:
            sinks.append(_overlay(output, source))
        if "panoptic" in saves:
            sinks.append(CocoPanoptic(output / "panoptic.json", image_ids(source)))
        if "coco" in saves:
            sinks.append(CocoResults(output / "coco.json", image_ids(source)))
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def _overlay(output: Path, source: Source) -> Sink:
    if not isinstance(source, PictureSource):
        return OverlayVideo(output / f"{source.name}-overlay.mp4", source)
    if len(source.paths) > 1:
        return OverlayPictures(output / "overlay", source)
    suffix = ".png" if source.paths[0].suffix.lower() == ".png" else ".jpg"
    return OverlayPictures(output / f"{source.name}-overlay{suffix}", source)
