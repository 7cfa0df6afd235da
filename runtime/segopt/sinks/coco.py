"""Sinks in COCO's forms: results with RLE masks, and panoptic PNG + json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segopt.coco.forms import panoptic_document
from segopt.errors import SinkError
from segopt.files.atomic import make_folder, write_image
from segopt.results import PanopticResult
from segopt.sinks.base import Finished, Sink
from segopt.sinks.json_list import JsonStream
from segopt.sources.base import Source, SourceFrame
from segopt.sources.pictures import PictureSource

LARGEST_ID = (1 << 24) - 1
"""Of a segment in a panoptic PNG."""

ImageIds = Callable[[SourceFrame], int]


def check_ids(result: PanopticResult, largest: int, form: str) -> None:
    """Refuse segment ids that a form has no room for, rather than let them begin again.

    Raises:
        SinkError: names the form, as ``form`` has it.
    """
    over = max((segment.id for segment in result.segments), default=0)
    if over > largest:
        raise SinkError(f"{form} holds ids up to {largest}, and object {over} came; start a new run for more")


class CocoResults(Sink):
    """``coco.json``: the list that ``pycocotools.coco.COCO.loadRes`` reads."""

    label = "COCO results"

    def __init__(self, path: Path, image_ids: ImageIds, *, overwrite: bool = False) -> None:
        self.path = path
        self._image_ids = image_ids
        self._json = JsonStream(path, overwrite=overwrite)

    def write(self, item: Finished) -> None:
        """Append the entries of one frame."""
        self._json.extend(item.result.to_coco(self._image_ids(item.source_frame)))
        self.count += 1

    def close(self) -> None:
        """Complete the file."""
        self._json.close()


class CocoPanoptic(Sink):
    """``panoptic/*.png`` and ``panoptic.json`` next to it, as panopticapi reads them."""

    label = "COCO panoptic"

    def __init__(self, path: Path, image_ids: ImageIds, *, overwrite: bool = False) -> None:
        """Write to ``path``, which ends in ``.json``, and to the folder of the same stem."""
        self.path = path
        self.folder = path.with_suffix("")
        self._image_ids = image_ids
        self._overwrite = overwrite
        self._json: JsonStream | None = None
        make_folder(self.folder)

    def write(self, item: Finished) -> None:
        """Write one PNG and append its annotation."""
        if not isinstance(item.result, PanopticResult):
            raise SinkError(f"{self.path}: needs panoptic results, and got {type(item.result).__name__}")
        check_ids(item.result, LARGEST_ID, f"{self.path}: a panoptic PNG")
        if self._json is None:
            head = panoptic_document([], [], item.result.categories)
            fields = {name: value for name, value in head.items() if name not in ("images", "annotations")}
            self._json = JsonStream(self.path, key="annotations", head=fields, overwrite=self._overwrite)
        image_id = self._image_ids(item.source_frame)
        png_name = f"{item.source_frame.name}.png"
        png, annotation = item.result.to_coco_panoptic(image_id, png_name)
        write_image(self.folder / png_name, png, overwrite=self._overwrite)
        height, width = item.result.size
        image = {"id": image_id, "file_name": item.source_frame.file_name, "height": height, "width": width}
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
