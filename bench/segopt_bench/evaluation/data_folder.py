"""Finds what there is to evaluate on in a folder.

::

    panoptic*.json with a folder of the same stem     COCO panoptic
    instances*.json                                   COCO instances
    semantic/ or SegmentationClass/                   index maps, 255 is void; classes.json names the indices
    images/, JPEGImages/ or leftImg8bit/              pictures; else the folder itself and the folders in it

The JSON files may lie in ``annotations/``, as COCO's own do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segopt.sources.pictures import PICTURE_SUFFIXES, natural_key
from segopt_bench.evaluation.coco_files import (
    instance_truth,
    kind_of,
    panoptic_truth,
    read_json,
    semantic_truth,
)
from segopt_bench.evaluation.problems import EvaluationError
from segopt_bench.evaluation.truth import InstanceTruth, PanopticTruth, SemanticOfPanoptic, SemanticTruth

_MAP_FOLDERS = ("semantic", "SegmentationClass")
_PICTURE_FOLDERS = ("images", "JPEGImages", "leftImg8bit")


@dataclass(frozen=True)
class Data:
    """Pictures and their ground truth."""

    source: Path
    images: dict[str, Path]
    """Pictures by key (the stem of their names), in natural order."""
    panoptic: PanopticTruth | None = None
    instance: InstanceTruth | None = None
    semantic: SemanticTruth | SemanticOfPanoptic | None = None


def open_data(path: Path) -> Data:
    """Find pictures and ground truth.

    Args:
        path: a folder, or one COCO JSON file where a folder has several of a kind.

    Raises:
        EvaluationError: there is nothing there that can be evaluated, or it is damaged.
    """
    if path.is_file():
        documents = {path: read_json(path)}
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
    elif path.is_dir():
        root = path
        documents = {file: read_json(file) for file in _json_files(path)}
    else:
        raise EvaluationError(f"{path}: no such folder")
    found: dict[str, tuple[Path, Any]] = {}
    for file, document in documents.items():
        kind = kind_of(document, file.name)
        if kind in found:
            raise EvaluationError(
                f"{path}: has two files of {kind}, {found[kind][0].name} and {file.name}; name one: --data {file}"
            )
        if kind is not None:
            found[kind] = file, document
    panoptic = panoptic_truth(*found["panoptic"]) if "panoptic" in found else None
    instance = instance_truth(*found["instances"]) if "instances" in found else None
    semantic: SemanticTruth | SemanticOfPanoptic | None = None
    if path.is_dir() and (folders := [root / name for name in _MAP_FOLDERS if (root / name).is_dir()]):
        class_file = root / "classes.json"
        semantic = semantic_truth(folders[0], class_file if class_file.is_file() else None)
    elif panoptic is not None and len(panoptic.classes) < 255:
        semantic = SemanticOfPanoptic(panoptic)
    truths = [truth for truth in (panoptic, instance, semantic) if truth is not None]
    if not truths:
        raise EvaluationError(
            f"{path}: has no ground truth: no panoptic or instances json of COCO, no folder `semantic` or "
            "`SegmentationClass` of index PNGs"
        )
    if not any(truth.pictures for truth in truths):
        raise EvaluationError(f"{path}: its ground truth is for no picture; it is empty")
    names = {Path(entry.file_name).name for entry in panoptic.pictures.values()} if panoptic else set()
    names |= {Path(str(image["file_name"])).name for image in instance.pictures.values()} if instance else set()
    maps = {semantic.source} if semantic else set()
    if panoptic:
        maps.add(panoptic.source.with_suffix(""))
    return Data(path, _pictures(root, maps, names), panoptic, instance, semantic)


def _json_files(root: Path) -> list[Path]:
    folders = [folder for folder in (root, root / "annotations") if folder.is_dir()]
    files = sorted(file for folder in folders for file in folder.glob("*.json"))
    # COCO's own folder has captions and key points beside: no need to read them.
    named = [file for file in files if file.name.startswith(("panoptic", "instances"))]
    return named or [file for file in files if file.name != "classes.json"]


def _pictures(root: Path, maps: set[Path], names: set[str]) -> dict[str, Path]:
    """Pictures by key. Folders of ``maps`` hold none; of two with one key the one in ``names`` is meant."""
    named = [root / name for name in _PICTURE_FOLDERS if (root / name).is_dir()]
    folders = named or [root, *(path for path in sorted(root.iterdir()) if path.is_dir() and path not in maps)]
    paths = [
        path
        for folder in folders
        for path in (folder.rglob("*") if named else folder.iterdir())
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    ]
    pictures: dict[str, Path] = {}
    for path in sorted(paths, key=natural_key):
        if path.stem not in pictures or path.name in names:
            pictures[path.stem] = path
    return pictures
