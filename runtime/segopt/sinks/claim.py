"""An output folder for one run: locked, rid of what dead runs left, and with nothing that would be replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from segopt.errors import SinkError
from segopt.files.atomic import check_new, exists_error, make_folder, sink_error
from segopt.files.lock import locked
from segopt.sinks.recovery import Recovered, recover
from segopt.sources.base import Source
from segopt.sources.pictures import PictureSource


def planned_files(saves: Collection[str], output: Path, source: Source) -> list[Path]:
    """The files that a run writes, of each folder of pictures the folder."""
    files = []
    if "overlay" in saves:
        files.append(overlay_path(output, source))
    if "panoptic" in saves:
        files += [output / "panoptic.json", output / "panoptic"]
    if "coco" in saves:
        files.append(output / "coco.json")
    if "jsonl" in saves:
        files.append(output / "segments.jsonl")
    if "step" in saves:
        files.append(output / "step")
    if "ytvis" in saves:
        files.append(output / "ytvis.json")
    return files


def overlay_path(output: Path, source: Source) -> Path:
    """Where the drawn video, the drawn picture or the folder of drawn pictures goes."""
    if not isinstance(source, PictureSource):
        return output / f"{source.name}-overlay.mp4"
    if len(source.paths) > 1:
        return output / "overlay"
    suffix = ".png" if source.paths[0].suffix.lower() == ".png" else ".jpg"
    return output / f"{source.name}-overlay{suffix}"


def check_outputs(saves: Collection[str], output: Path, source: Source, *, overwrite: bool) -> None:
    """Find out before a run whether it would replace anything.

    Raises:
        SinkError: a file of the source would be replaced, or one that this run did not make and that is not to be
            overwritten. A folder of pictures must be empty.
    """
    planned = planned_files(saves, output, source)
    taken = {identity for path in planned if (identity := _identity(path))}
    parents: dict[Path, bool] = {}
    for original in source.files:
        within = parents.get(original.parent)
        if within is None:
            within = parents[original.parent] = _identity(original.parent) in taken
        if within or _identity(original) in taken:
            raise SinkError(
                f"{original}: is {'a picture of ' if source.kind == 'pictures' else ''}the source, and would be "
                "replaced; give another folder with --output"
            )
    if overwrite:
        return
    for path in planned:
        if not path.is_dir():
            check_new(path, overwrite=False)
            continue
        try:
            there = min(path.iterdir(), default=None)
        except OSError as error:
            raise sink_error(path, error) from None
        if there is not None:
            raise exists_error(there)


@contextlib.contextmanager
def claimed(
    saves: Collection[str],
    output: Path,
    source: Source,
    *,
    overwrite: bool = False,
    on_recovered: Callable[[Recovered], None] = lambda _: None,
) -> Iterator[None]:
    """Have an output folder for as long as a run lasts.

    Args:
        saves: what is to be saved, some of :data:`segopt.sinks.making.SAVES`; without any, nothing is done.
        output: folder; made with its parents, and removed at the end if it is new and nothing is in it.
        source: where the frames come from.
        overwrite: earlier outputs may be replaced.
        on_recovered: gets each file of a dead run that was completed.

    Raises:
        SinkError: another run has the folder; something would be replaced, see :func:`check_outputs`; the folder
            cannot be written.
    """
    if not saves:
        yield
        return
    new = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        make_folder(output)
        with locked(output):
            avoid = planned_files(saves, output, source) if overwrite else ()
            for folder in (output, output / "overlay", output / "panoptic", output / "step"):
                if folder.is_dir():
                    for file in recover(folder, avoid=avoid).files:
                        on_recovered(file)
            check_outputs(saves, output, source, overwrite=overwrite)
            yield
    finally:
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file or folder from all others, by whatever name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
