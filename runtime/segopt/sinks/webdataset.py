"""A sink of samples for training: one tar, in the form that WebDataset and Hugging Face's datasets read.

A sample is three files of one key: ``KEY.jpg``, the frame as it was segmented (upright, as no reader turns it),
``KEY.png``, the panoptic PNG, and ``KEY.json``, its annotation and image in COCO's form.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2

from segopt.errors import SinkError
from segopt.files.atomic import sink_error
from segopt.results import PanopticResult
from segopt.sinks.base import Finished, Sink
from segopt.sinks.coco import LARGEST_ID, ImageIds, check_ids

_JPEG_QUALITY = 95


class WebDataset(Sink):
    """``NAME.tar``; the same bytes for the same frames. It is of use once it is closed."""

    label = "WebDataset"

    def __init__(self, path: Path, prefix: str, image_ids: ImageIds) -> None:
        """Write to ``path``.

        Args:
            path: of the tar, which must not be there.
            prefix: of all keys, so that tars can be mixed.
            image_ids: COCO's id of each frame.

        Raises:
            SinkError: it cannot be written.
        """
        self.path = path
        # A key ends at its first dot.
        self._prefix = prefix.replace(".", "_")
        self._image_ids = image_ids
        self._keys: set[str] = set()
        try:
            self._file = path.open("xb")
        except OSError as error:
            raise sink_error(path, error) from None
        # PAX holds names of any length and alphabet.
        self._tar = tarfile.open(fileobj=self._file, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def write(self, item: Finished) -> None:
        """Append one sample."""
        if not isinstance(item.result, PanopticResult):
            raise SinkError(f"{self.path}: needs panoptic results, and got {type(item.result).__name__}")
        check_ids(item.result, LARGEST_ID, f"{self.path}: a panoptic PNG")
        key = self._key(item.source_frame.name)
        image_id = self._image_ids(item.source_frame)
        png, annotation = item.result.to_coco_panoptic(image_id, f"{key}.png")
        height, width = item.result.size
        image = {"id": image_id, "file_name": item.source_frame.file_name, "height": height, "width": width}
        document = json.dumps({"image": image, "annotation": annotation})
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        try:
            self._add(f"{key}.jpg", cv2.imencode(".jpg", item.frame, quality)[1].tobytes())
            self._add(f"{key}.png", cv2.imencode(".png", png)[1].tobytes())
            self._add(f"{key}.json", document.encode())
        except cv2.error:
            raise SinkError(f"{self.path}: OpenCV cannot encode {width}x{height} pixels") from None
        except OSError as error:
            raise sink_error(self.path, error) from None
        self.count += 1

    def close(self) -> None:
        """Complete the tar."""
        if self._file.closed:
            return
        try:
            self._tar.close()
            self._file.close()
        except OSError as error:
            raise sink_error(self.path, error) from None

    def _key(self, name: str) -> str:
        base = f"{self._prefix}/{name}".replace(".", "_").encode("utf-8", "replace").decode()
        number, key = 1, base
        while key in self._keys:
            number += 1
            key = f"{base}-{number}"
        self._keys.add(key)
        return key

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
