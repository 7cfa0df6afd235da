"""Ground truth: COCO's json files of both kinds, class lists, and annotation PNGs, through ``segopt eval``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np

import tiny
from fuzzing.attempts import FaultError, Outcome, command
from fuzzing.mutators import damaged, damaged_json, resealed_png

Attempt = Callable[[Random, Path], Outcome]

_HEIGHT, _WIDTH = tiny.CANVAS
_CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1},
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 200, "name": "sky", "isthing": 0},
]


def documents(good: Path) -> Attempt:
    """Changed structures of one of the folder's json files."""
    engine, data = tiny.panoptic_engine(good / "engine.onnx"), _data(good / "data")
    texts = {path.name: json.loads(path.read_text()) for path in sorted(data.glob("*.json"))}

    def attempt(chance: Random, case: Path) -> Outcome:
        inputs = shutil.copytree(data, case / "in" / "data")
        name = chance.choice(sorted(texts))
        (inputs / name).write_bytes(damaged_json(texts[name], chance))
        return _evaluate(case, engine, f"in/data/{name}" if chance.random() < 0.2 else "in/data")

    return attempt


def annotation_pngs(good: Path) -> Attempt:
    """Damaged bytes of a panoptic PNG or an index map."""
    engine, data = tiny.panoptic_engine(good / "engine.onnx"), _data(good / "data")
    maps = sorted(path.relative_to(data) for path in data.glob("*/*.png") if path.parent.name != "images")
    samples = [(data / path).read_bytes() for path in maps]

    def attempt(chance: Random, case: Path) -> Outcome:
        inputs = shutil.copytree(data, case / "in" / "data")
        png = damaged((data / (name := chance.choice(maps))).read_bytes(), samples, chance)
        (inputs / name).write_bytes(resealed_png(png, chance))
        return _evaluate(case, engine, "in/data")

    return attempt


def _evaluate(case: Path, engine: Path, data: str) -> Outcome:
    outcome = command(case, "", "eval", "--engine", engine, "--data", data, "--json", "out/figures.json")
    figures = case / "out" / "figures.json"
    if figures.exists() != (outcome == "right"):
        raise FaultError(f"{outcome}, and its figures are {'there' if figures.exists() else 'not there'}")
    for name, value in _numbers(json.loads(figures.read_text())["scores"]) if figures.exists() else ():
        if value is not None and not (name == "pictures" or 0 <= value <= 1):
            raise FaultError(f"{name} is {value}")
    return outcome


def _numbers(node: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(node, (dict, list)):
        items = node.items() if isinstance(node, dict) else ((name, value) for value in node)
        return [pair for key, value in items for pair in _numbers(value, key)]
    return [(name, node)] if node is None or isinstance(node, (int, float)) else []


def _data(root: Path) -> Path:
    """Two pictures with panoptic PNGs, objects as polygons and as RLE, index maps and their classes."""
    for name in ("images", "panoptic", "semantic"):
        (root / name).mkdir(parents=True)
    images, maps, objects = [], [], []
    for i in (1, 2):
        name = f"p{i}.png"
        picture = np.full((_HEIGHT, _WIDTH, 3), 230, np.uint8)
        picture[: 12 + i] = 20
        ids = np.where(picture[..., 0] > 127, 3, 0).astype(np.uint8)
        cv2.imwrite(str(root / "images" / name), picture)
        cv2.imwrite(str(root / "semantic" / name), (picture[..., 0] > 127).astype(np.uint8))
        for number, (box, _, label) in enumerate(tiny.DETECTIONS[:2], start=1):
            x0, y0, x1, y1 = map(int, box)
            ids[y0:y1, x0:x1] = number
            polygon: Any = [[x0, y0, x1, y0, x1, y1, x0, y1]]
            runs = [x0 * _HEIGHT + y0, *[y1 - y0, _HEIGHT - y1 + y0] * (x1 - x0 - 1), y1 - y0]
            rle = {"size": [_HEIGHT, _WIDTH], "counts": [*runs, _HEIGHT * _WIDTH - sum(runs)]}
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": i,
                    "category_id": label,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": int(i == 2 and number == 2),
                    "segmentation": polygon if i == 1 else rle,
                }
            )
        cv2.imwrite(str(root / "panoptic" / name), np.dstack([ids * 0, ids * 0, ids]))
        images.append({"id": i, "file_name": name, "height": _HEIGHT, "width": _WIDTH})
        segments = [
            {"id": k, "category_id": (1, 3, 200)[k - 1], "iscrowd": 0, "area": int((ids == k).sum())}
            for k in (1, 2, 3)
        ]
        maps.append({"image_id": i, "file_name": name, "segments_info": segments})
    _write(root / "panoptic.json", {"images": images, "annotations": maps, "categories": _CATEGORIES})
    _write(root / "instances.json", {"images": images, "annotations": objects, "categories": _CATEGORIES[:2]})
    _write(root / "classes.json", ["dark", "bright"])
    return root


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document))
