"""Where things are in an output folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segopt.labeling.job import Format
from segopt.labeling.units import Unit
from segopt.sinks.base import Sink
from segopt.sinks.coco import image_ids
from segopt.sinks.webdataset import WebDataset
from segopt.sources.base import Source

FAILED_NAME = "failed.jsonl"


@dataclass(frozen=True)
class Layout:
    """::

    job.json                                what the folder is for
    failed.jsonl                            a line for each unit that failed or broke off
    panoptic.json                           all shards as one, of COCO's form
    panoptic/UNIT/panoptic.json, panoptic/  a shard, as ``segopt run --save panoptic`` writes it
    webdataset/UNIT.tar                     a shard of the other form
    broken/UNIT.json                        why a unit ended early, whose good frames are in its shard
    """

    output: Path
    format: Format

    @property
    def shards(self) -> Path:
        """The folder of all shards."""
        return self.output / ("panoptic" if self.format == "coco" else "webdataset")

    @property
    def merged(self) -> Path:
        """All shards as one; its PNGs are in the folder of the same stem."""
        return self.output / "panoptic.json"

    @property
    def failed(self) -> Path:
        """A line for each unit that failed or broke off."""
        return self.output / FAILED_NAME

    def shard(self, unit: str) -> Path:
        """A unit's shard."""
        return self.shards / (unit if self.format == "coco" else f"{unit}.tar")

    def unit_of(self, name: str) -> str:
        """The unit whose shard has this name."""
        return name if self.format == "coco" else name.removesuffix(".tar")

    def broken(self, unit: str) -> Path:
        """Why a unit ended early."""
        return self.output / "broken" / f"{unit}.json"

    def written(self, attempt: Path) -> Path:
        """What becomes the shard, of an attempt's folder."""
        return attempt if self.format == "coco" else attempt / "shard.tar"

    def sinks(self, attempt: Path, unit: Unit, source: Source) -> tuple[Sequence[str], list[Sink]]:
        """What a run saves by itself, and the sinks besides."""
        if self.format == "coco":
            return ("panoptic",), []
        return (), [WebDataset(self.written(attempt), unit.name, image_ids(source))]
