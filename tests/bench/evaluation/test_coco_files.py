"""COCO's files as people have them: what is plain is read, one bad entry is left out, and nothing crashes."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from segopt_bench.evaluation import EvaluationError, open_data
from segopt_bench.evaluation.coco_files import instance_truth, panoptic_truth, read_json

HEIGHT, WIDTH = 48, 64
SQUARE = [8, 8, 24, 8, 24, 24, 8, 24]
"""A polygon of 16 by 16 pixels."""
GOOD = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 16, 16], "segmentation": [SQUARE], "iscrowd": 0}


def instances(*objects, image=None, **more):
    size = {"height": HEIGHT, "width": WIDTH}
    images = [{"id": 1, "file_name": "a.png", **size, **(image or {})}]
    return {"images": images, "annotations": list(objects), "categories": [{"id": 1, "name": "car"}], **more}


def read(document, tmp_path):
    return instance_truth(tmp_path / "instances.json", document)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_is_read_in_every_encoding_of_it_with_and_without_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "a.json").write_text('{"name": "Straße"}', encoding=encoding)
    assert read_json(tmp_path / "a.json") == {"name": "Straße"}


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(EvaluationError, match="no plain file"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"image_id": 1.0, "category_id": 1.0, "iscrowd": 0.0}, {"image_id": 1, "category_id": 1, "iscrowd": 0}),
        ({"iscrowd": True}, {"iscrowd": 1}),
        ({"segmentation": SQUARE}, {"segmentation": [SQUARE]}),
        ({"segmentation": [[8, 8, 9, 9], SQUARE]}, {"segmentation": [SQUARE]}),
        ({"segmentation": []}, {"bbox": [8, 8, 16, 16]}),
        ({"bbox": [8.5, 8, 16, 16]}, {"bbox": [8.5, 8, 16, 16]}),
    ],
)
def test_what_is_plain_is_read(tmp_path, change, found):
    truth = read(instances({**GOOD, **change}), tmp_path)
    assert truth.left_out == ()
    assert {name: truth.document["annotations"][0].get(name) for name in found} == found


@pytest.mark.parametrize("segmentation", [[SQUARE], {"size": [HEIGHT, WIDTH], "counts": [392, 16, 2664]}])
def test_an_object_without_a_box_has_the_one_of_its_mask(tmp_path, segmentation):
    bare = {name: value for name, value in GOOD.items() if name != "bbox"}
    truth = read(instances({**bare, "segmentation": segmentation}, GOOD), tmp_path)
    box = truth.document["annotations"][0]["bbox"]
    assert box == ([8, 8, 16, 16] if isinstance(segmentation, list) else [8, 8, 1, 16])


HUGE = 10**400
BAD = {
    "no category": ({"category_id": 7}, "has category 7"),
    "no image": ({"image_id": 9}, "is of image 9"),
    "no box and no mask": ({"bbox": None, "segmentation": None}, "bbox"),
    "a box of 10^400": ({"bbox": [0, 0, HUGE, 1]}, "must be a number"),
    "a box of infinity": ({"bbox": [0, 0, float("inf"), 1]}, "must be a number"),
    "a box far away": ({"bbox": [0, 0, 1e9, 1]}, "its picture is 64x48"),
    "a negative box": ({"bbox": [5, 5, -3, 4]}, "-3x4"),
    "a box of three": ({"bbox": [1, 2, 3]}, "must have x, y, width, height"),
    "infinity in iscrowd": ({"iscrowd": float("inf")}, "iscrowd is inf"),
    "a polygon far away": ({"segmentation": [[0, 0, 1e9, 0, 1e9, 1e9]]}, "1e+09 in its polygon"),
    "a polygon far the other way": ({"segmentation": [[0, 0, -1e9, 0, 5, 5]]}, "-1e+09 in its polygon"),
    "a polygon of two points": ({"segmentation": [[1, 1, 5, 5]]}, "fewer than 3 points"),
    "an odd polygon": ({"segmentation": [[1, 1, 5, 5, 7, 7, 9]]}, "x and y of each point"),
    "NaN in a polygon": ({"segmentation": [[float("nan"), 1, 5, 5, 7, 7]]}, "must be a number"),
    "an RLE of 10^10": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [10**10]}}, "do not fill"),
    "an RLE of another size": (
        {"segmentation": {"size": [10**6, 9], "counts": "x"}},
        "its picture is [48, 64]",
    ),
    "an RLE of nonsense": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "oooooooooooo"}}, "RLE"),
    "a text for a mask": ({"segmentation": "mask"}, "neither an RLE nor polygons"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_bad_object_is_left_out_and_listed(tmp_path, case):
    change, reason = BAD[case]
    bad = {**GOOD, "id": 432, **change}
    bad = {name: value for name, value in bad.items() if value is not None}
    truth = read(instances(GOOD, bad), tmp_path)
    assert len(truth.document["annotations"]) == 1
    (entry,) = truth.left_out
    assert entry.picture == "annotation 432"
    assert reason in entry.reason
    assert len(entry.reason) < 200
    with pytest.raises(EvaluationError, match="annotation 432"):
        read(instances(bad), tmp_path)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"height": 1, "width": 2**31}, "the limit is 178956970"),
        ({"height": 0}, "0 pixels|64x0"),
        ({"height": HUGE}, "must be a whole number"),
        ({"file_name": "\ud800.png"}, "can be printed"),
        ({"file_name": "a\x1b[2J.png"}, "can be printed"),
    ],
)
def test_an_image_that_cannot_be_is_one_line(tmp_path, image, message):
    with pytest.raises(EvaluationError, match=message) as error:
        read(instances(GOOD, image=image), tmp_path)
    assert str(error.value).isprintable()


def test_the_first_object_needs_no_box_to_tell_what_a_file_is(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    bare = {name: value for name, value in GOOD.items() if name not in ("bbox", "segmentation")}
    (tmp_path / "instances.json").write_text(json.dumps(instances(bare, GOOD)))
    data = open_data(tmp_path)
    assert len(data.instance.document["annotations"]) == 1
    assert data.instance.left_out[0].reason == "has neither a bbox nor a segmentation"


def panoptic(root, **change):
    entry = {"image_id": "c_1", "file_name": "c_1.png", "segments_info": [{"id": 1, "category_id": 7}], **change}
    images = [{"id": "c_1", "file_name": "c_1.png", "height": HEIGHT, "width": WIDTH}]
    (root / "panoptic").mkdir(exist_ok=True)
    good = {"image_id": "c_2", "file_name": "c_2.png", "segments_info": [{"id": 1, "category_id": 7}]}
    categories = [{"id": 7, "name": "road", "isthing": 0}]
    return {"images": images, "annotations": [entry, good], "categories": categories}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file_name": "../../outside.png"}, "no file in panoptic"),
        ({"file_name": "/etc/passwd"}, "no file in panoptic"),
        ({"file_name": "..\\outside.png"}, "no file in panoptic"),
        ({"segments_info": [{"id": 1, "category_id": 9}]}, "category 9"),
        ({"segments_info": [{"id": 1 << 24, "category_id": 7}]}, "segment with id"),
        ({"segments_info": [{"id": 1, "category_id": 7}] * 2}, "two segments with one id"),
        ({"segments_info": None}, "no list"),
        ({"image_id": [1]}, "must be a whole number"),
    ],
)
def test_one_bad_panoptic_annotation_is_left_out_and_listed(tmp_path, change, reason):
    truth = panoptic_truth(tmp_path / "panoptic.json", panoptic(tmp_path, **change))
    assert list(truth.pictures) == ["c_2"]
    assert reason in truth.left_out[0].reason


def test_cityscapes_names_are_matched_with_its_pictures(tmp_path):
    (tmp_path / "panoptic").mkdir()
    (tmp_path / "leftImg8bit" / "val" / "c").mkdir(parents=True)
    picture = tmp_path / "leftImg8bit" / "val" / "c" / "c_000_001_leftImg8bit.png"
    cv2.imwrite(str(picture), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    document = panoptic(tmp_path)
    document["images"][0].update(id="c_000_001", file_name="c_000_001_gtFine_leftImg8bit.png")
    document["annotations"] = [
        {
            "image_id": "c_000_001",
            "file_name": "c_000_001_gtFine_panoptic.png",
            "segments_info": [{"id": 26000, "category_id": 7, "iscrowd": 0}],
        }
    ]
    (tmp_path / "panoptic.json").write_text(json.dumps(document))
    data = open_data(tmp_path)
    assert data.images == {"c_000_001_leftImg8bit": picture}
    assert data.panoptic.pictures.keys() == data.images.keys()


def test_an_annotation_of_a_billion_pixels_is_refused_by_its_header(tmp_path):
    """In a process of its own, whose memory is measured."""
    code = """
import resource, struct, sys, zlib
from pathlib import Path
from segopt_bench.evaluation.maps import read_panoptic_ids
from segopt_bench.evaluation.problems import LeftOutError
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
path = Path(sys.argv[1])
head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
data = chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
path.write_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + head + data + chunk(b"IEND", b""))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_panoptic_ids(path)
except LeftOutError as error:
    print(error)
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "pixels" in done.stdout
    assert "PNG" in done.stdout
