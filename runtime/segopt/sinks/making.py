"""Where results go: overlay pictures or video, COCO results, COCO panoptic.

A sink gets each frame with its result, in order, and is a context manager. However a run ends, closing a sink
makes what it got so far complete and valid.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import get_args

from segopt.errors import UsageError
from segopt.files.atomic import make_folder
from segopt.model.card import Mode
from segopt.sinks.base import Sink
from segopt.sinks.claim import check_outputs, overlay_path
from segopt.sinks.coco import CocoPanoptic, CocoResults, image_ids
from segopt.sinks.jsonl import JsonLines
from segopt.sinks.overlay import OverlayPictures, OverlayVideo
from segopt.sinks.step import StepPictures
from segopt.sinks.ytvis import YoutubeVis
from segopt.sources.base import Source
from segopt.sources.pictures import PictureSource

SAVES = ("overlay", "panoptic", "coco", "jsonl", "rle", "step", "ytvis")
"""``rle`` is no file: it adds masks to the lines of ``jsonl``."""
_FITTING: dict[Mode, tuple[str, ...]] = {
    "semantic": ("overlay", "coco", "jsonl", "rle"),
    "instance": ("overlay", "coco", "jsonl", "rle", "ytvis"),
    "panoptic": SAVES,
}
_OF_TRACKS = ("step", "ytvis")
"""Forms of objects that last."""
assert set(_FITTING) == set(get_args(Mode))


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
    if "rle" in names and "jsonl" not in names:
        raise UsageError("--save rle: adds masks to the lines of jsonl; write --save jsonl,rle")
    return names


def make_sinks(
    saves: Collection[str],
    output: Path,
    source: Source,
    mode: Mode,
    *,
    tracked: bool = False,
    overwrite: bool = False,
) -> list[Sink]:
    """The sinks for what is to be saved, in a folder that is made for them.

    Args:
        saves: some of :data:`SAVES`.
        output: folder; made with its parents when something is to be saved.
        source: where the frames come from; its name and kind name the files.
        mode: what the results will be.
        tracked: whether they will have numbers that last.
        overwrite: replace earlier outputs. A file of the source is never replaced.

    Raises:
        UsageError: something that results of this mode cannot give.
        SinkError: the folder cannot be written, or something in it would be replaced.
    """
    for save in saves:
        if save not in _FITTING[mode]:
            raise UsageError(
                f"--save {save}: {mode} results have no such form; choose from {', '.join(_FITTING[mode])}"
                + (", or use a panoptic model" if save in ("panoptic", "step") else "")
            )
        if save in _OF_TRACKS and not tracked:
            raise UsageError(f"--save {save}: holds objects that last over the frames; add --track")
    check_outputs(saves, output, source, overwrite=overwrite)
    if saves:
        make_folder(output)
    sinks: list[Sink] = []
    try:
        if "overlay" in saves:
            sinks.append(_overlay(output, source, overwrite=overwrite))
        if "panoptic" in saves:
            sinks.append(CocoPanoptic(output / "panoptic.json", image_ids(source), overwrite=overwrite))
        if "coco" in saves:
            sinks.append(CocoResults(output / "coco.json", image_ids(source), overwrite=overwrite))
        if "jsonl" in saves:
            path = output / "segments.jsonl"
            sinks.append(JsonLines(path, source.name, masks="rle" in saves, overwrite=overwrite))
        if "step" in saves:
            sinks.append(StepPictures(output / "step", source, overwrite=overwrite))
        if "ytvis" in saves:
            sinks.append(YoutubeVis(output / "ytvis.json", overwrite=overwrite))
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def _overlay(output: Path, source: Source, *, overwrite: bool) -> Sink:
    path = overlay_path(output, source)
    if isinstance(source, PictureSource):
        return OverlayPictures(path, source, overwrite=overwrite)
    return OverlayVideo(path, source, overwrite=overwrite)
