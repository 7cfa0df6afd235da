"""Sinks that show results: drawn pictures, and a drawn video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from segopt.files.atomic import make_folder, write_image
from segopt.sinks.base import Finished, Sink
from segopt.sources.base import Source
from segopt.sources.pictures import PictureSource


class OverlayPictures(Sink):
    """One drawn picture for each picture of the source."""

    label = "overlay"
    wants_overlay = True

    def __init__(self, path: Path, source: PictureSource, *, overwrite: bool = False) -> None:
        """Write to the folder ``path``, or where the source is one picture, to the file ``path``."""
        self.path = path
        self._one_file = len(source.paths) == 1
        self._overwrite = overwrite
        if not self._one_file:
            make_folder(path)

    def write(self, item: Finished) -> None:
        """Write ``<stem>.png`` for a PNG and ``<stem>.jpg`` for all else."""
        suffix = ".png" if item.source_frame.file_name.lower().endswith(".png") else ".jpg"
        target = self.path if self._one_file else self.path / f"{item.source_frame.name}{suffix}"
        write_image(target, item.overlay, overwrite=self._overwrite)
        self.count += 1


class OverlayVideo(Sink):
    """The drawn video, at the source's own times and with its sound."""

    label = "overlay"
    wants_overlay = True

    def __init__(self, path: Path, source: Source, *, overwrite: bool = False) -> None:
        from segopt.sinks.mp4 import VideoWriter

        self.path = path
        self._writer = VideoWriter(
            path, rate=source.rate or Fraction(25), tick=source.tick, sound=source.sound, overwrite=overwrite
        )
        self.notes = self._writer.notes

    def write(self, item: Finished) -> None:
        """Append the drawn frame."""
        self._writer.write(item.overlay, time=item.source_frame.time, duration=item.source_frame.duration)
        self.count += 1

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()
