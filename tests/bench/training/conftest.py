"""A folder of COCO panoptic data, as trainings read it."""

import json

import cv2
import numpy as np
import pytest

CATEGORIES = [
    {"id": 5, "name": "sky", "isthing": 0},
    {"id": 7, "name": "car", "isthing": 1},
    {"id": 9, "name": "person", "isthing": 1},
    {"id": 11, "name": "road", "isthing": 0},
]
HEIGHT, WIDTH = 64, 96


@pytest.fixture
def folder(tmp_path):
    """Three pictures: sky above, road below, a car at the left, a crowd at the right, a border of nothing."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "panoptic").mkdir()
    images, annotations = [], []
    for i in range(3):
        ids = np.zeros((HEIGHT, WIDTH), np.int32)
        ids[2:32], ids[32:] = 1, 2
        ids[20:44, 8 + i : 40] = 300
        ids[24:40, 70:80] = 4
        frame = (40 * (ids % 7)[..., None] + np.arange(3)).astype(np.uint8)
        cv2.imwrite(str(root / "images" / f"p{i}.png"), frame)
        cv2.imwrite(
            str(root / "panoptic" / f"p{i}.png"), np.dstack([ids >> 16, ids >> 8, ids & 255]).astype(np.uint8)
        )
        segments = [(1, 5, 0), (2, 11, 0), (300, 7, 0), (4, 9, 1)]
        annotations.append(
            {
                "image_id": i,
                "file_name": f"p{i}.png",
                "segments_info": [{"id": s, "category_id": c, "iscrowd": crowd} for s, c, crowd in segments],
            }
        )
        images.append({"id": i, "file_name": f"p{i}.png", "height": HEIGHT, "width": WIDTH})
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "panoptic.json").write_text(json.dumps(document))
    return root
