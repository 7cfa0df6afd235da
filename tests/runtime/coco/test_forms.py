"""COCO's forms, against pycocotools and against readers written out in plain numpy."""

import json
from itertools import groupby

import cv2
import numpy as np
import pytest

from segopt.coco.forms import panoptic_document, read_panoptic_png
from segopt.coco.rle import decode_rle, encode_rle, rle_of
from segopt.masks.crop import MaskCrop
from segopt.masks.label_runs import LabelRuns
from segopt.model.categories import Category
from segopt.results import InstanceResult, PanopticResult, SemanticResult
from segopt.segment import Segment

CATEGORIES = (
    Category(1, "person", True, (220, 20, 60)),
    Category(3, "car", True, (0, 0, 142)),
    Category(187, "sky", False, (70, 130, 180)),
)


def peer_rle(mask):
    pycocotools = pytest.importorskip("pycocotools.mask")
    rle = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def random_crop(rng):
    height, width = (int(side) for side in rng.integers(1, 70, 2))
    h, w = int(rng.integers(0, height + 1)), int(rng.integers(0, width + 1))
    y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    mask = rng.random((h, w)) < rng.choice([0.0, 0.02, 0.5, 0.97, 1.0])
    return MaskCrop(x, y, mask), height, width


def test_rle_of_random_crops_is_that_of_pycocotools():
    rng = np.random.default_rng(0)
    for _ in range(600):
        crop, height, width = random_crop(rng)
        plane = crop.on_canvas(height, width)
        expected = peer_rle(plane)
        assert encode_rle(crop, height, width) == expected
        assert encode_rle(plane, height, width) == expected
        assert (decode_rle(expected) == plane).all()


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((5, 7), bool),
        np.ones((5, 7), bool),
        np.ones((1, 1), bool),
        np.eye(40, dtype=bool),
        np.pad(np.ones((1, 1), bool), ((0, 4), (0, 6))),
        np.pad(np.ones((1, 1), bool), ((4, 0), (6, 0))),
        np.pad(np.ones((5, 3), bool), ((0, 0), (2, 2))),
        np.pad(np.ones((2, 2), bool), ((500, 700), (900, 300))),
    ],
    ids=["empty", "full", "one pixel", "diagonal", "top left", "bottom right", "columns", "long runs"],
)
def test_rle_of_special_masks_is_that_of_pycocotools(mask):
    rle = encode_rle(mask, *mask.shape)
    assert rle == peer_rle(mask)
    assert (decode_rle(rle) == mask).all()


def test_rle_counts_may_be_bytes_or_a_list():
    mask = np.array([[0, 1, 1], [0, 0, 1]], bool)
    rle = encode_rle(mask, 2, 3)
    assert (decode_rle({"size": [2, 3], "counts": rle["counts"].encode()}) == mask).all()
    assert (decode_rle({"size": [2, 3], "counts": [2, 1, 1, 2]}) == mask).all()


def test_a_crop_that_leaves_the_frame_is_an_error():
    with pytest.raises(ValueError, match="3x2 crop at"):
        encode_rle(MaskCrop(8, 0, np.ones((2, 3), bool)), 10, 10)


@pytest.mark.parametrize("counts", ["", "R", "\x01", "é", "5" * 3, [3, 4], [-1, 7], "oooooooooooooooo0"])
def test_damaged_counts_are_an_error(counts):
    with pytest.raises(ValueError, match="RLE"):
        decode_rle({"size": [2, 3], "counts": counts})


FIRST_LABELS = {
    np.uint8: (0, 252),
    np.uint16: (252, 253),
    np.int32: (0, 252, 253, -1, (1 << 24) - 4),
    np.int64: (0, 253, -1),
}


@pytest.mark.parametrize(
    ("dtype", "first"), [(d, first) for d, firsts in FIRST_LABELS.items() for first in firsts]
)
def test_label_runs_give_each_labels_area_box_and_rle(dtype, first):
    rng = np.random.default_rng(1)
    for _ in range(100):
        height, width = rng.integers(1, 30, 2)
        blocks = rng.integers(first, first + 4, (8, 8)).repeat(4, 0).repeat(4, 1)
        labels = blocks[:height, :width].astype(dtype)
        runs = LabelRuns.of(labels)
        assert runs.labels.tolist() == np.unique(labels).tolist()
        for k, label in enumerate(runs.labels):
            mask = labels == label
            ys, xs = np.nonzero(mask)
            assert runs.area(k) == mask.sum()
            assert runs.box(k) == (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
            assert rle_of(runs, k) == peer_rle(mask)


def test_instances_become_coco_results():
    result = InstanceResult(
        boxes=np.array([[1.234, 2, 5.5, 7], [0, 0, 3, 3]], np.float32),
        scores=np.array([0.98765432, 0.5], np.float32),
        labels=np.array([3, 1], np.int32),
        crops=(MaskCrop(1, 2, np.ones((5, 4), bool)), MaskCrop(0, 0, np.zeros((0, 0), bool))),
        size=(10, 12),
        categories=CATEGORIES,
    )
    first, second = json.loads(json.dumps(result.to_coco(42)))
    assert first["image_id"] == 42
    assert first["category_id"] == 3
    assert first["bbox"] == [1.23, 2.0, 4.27, 5.0]
    assert first["score"] == 0.98765
    assert (decode_rle(first["segmentation"]) == result.mask(0)).all()
    assert not decode_rle(second["segmentation"]).any()


def test_classes_become_coco_results():
    classes = np.array([[0, 1, 1], [3, 3, 9]], np.uint8)
    result = SemanticResult(classes, (Category(0, "background", False, (0, 0, 0)), *CATEGORIES))
    entries = json.loads(json.dumps(result.to_coco(7)))
    assert [entry["category_id"] for entry in entries] == [0, 1, 3]
    for entry in entries:
        assert (decode_rle(entry["segmentation"]) == (classes == entry["category_id"])).all()


def panoptic(rng, height=60, width=80, segments=6, spread=1):
    coarse = rng.integers(0, segments + 1, (height // 5, width // 5))
    segment_map = (coarse * spread).repeat(5, 0).repeat(5, 1).astype(np.int32)
    listed = []
    for k in range(1, segments + 1):
        # Several segments share a category, stuff included.
        category = CATEGORIES[k % len(CATEGORIES)]
        area = int((segment_map == k * spread).sum())
        listed.append(Segment(k * spread, category.id, category.is_thing, 1 - k / 100, area))
    return PanopticResult(segment_map, tuple(listed), CATEGORIES)


def test_things_become_coco_results_with_tight_boxes():
    result = panoptic(np.random.default_rng(2))
    entries = json.loads(json.dumps(result.to_coco(7)))
    things = [segment for segment in result.segments if segment.is_thing and segment.area]
    assert [entry["category_id"] for entry in entries] == [segment.category_id for segment in things]
    for entry, segment in zip(entries, things, strict=True):
        mask = result.mask(segment.id)
        ys, xs = np.nonzero(mask)
        assert (decode_rle(entry["segmentation"]) == mask).all()
        assert entry["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert entry["score"] == pytest.approx(segment.score)


def check_as_an_evaluation_reads_it(png, annotation, categories):
    """What panopticapi's evaluation demands of a prediction, and the document's own claims, pixel by pixel."""
    blue, green, red = (png[..., channel].astype(int) for channel in range(3))
    ids = red + 256 * green + 65536 * blue
    info = {entry["id"]: entry for entry in annotation["segments_info"]}
    assert len(info) == len(annotation["segments_info"])
    assert set(np.unique(ids)) - {0} == set(info)
    for segment_id, entry in info.items():
        ys, xs = np.nonzero(ids == segment_id)
        assert entry["category_id"] in categories
        assert entry["area"] == len(ys)
        assert entry["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert entry["iscrowd"] == 0
    return ids


@pytest.mark.parametrize("spread", [1, 300, 70_000])
def test_a_panoptic_png_and_its_json_agree(tmp_path, spread):
    result = panoptic(np.random.default_rng(3), spread=spread)
    png, annotation = result.to_coco_panoptic(9, "nine.png")
    cv2.imwrite(str(tmp_path / "nine.png"), png)
    image = {"id": 9, "file_name": "nine.jpg", "height": 60, "width": 80}
    text = json.dumps(panoptic_document([image], [annotation], CATEGORIES))

    document = json.loads(text)
    read_back = cv2.imread(str(tmp_path / "nine.png"))
    assert set(document) == {"info", "licenses", "images", "annotations", "categories"}
    (entry,) = document["annotations"]
    assert (entry["image_id"], entry["file_name"]) == (9, "nine.png")
    ids = check_as_an_evaluation_reads_it(read_back, entry, {c["id"] for c in document["categories"]})
    assert (ids == result.segment_map).all()
    assert read_panoptic_png(read_back).dtype == np.int32
    assert (read_panoptic_png(read_back) == result.segment_map).all()
    assert entry["segments_info"][0]["category_id"] == result.segments[0].category_id


def test_segments_without_pixels_and_pixels_without_segment_leave_the_panoptic_form_valid():
    segment_map = np.array([[1, 1, 5], [0, 5, 2]], np.int32)
    segments = (
        Segment(1, 1, True, 0.9, 2),
        Segment(2, 3, True, 0.8, 1),
        Segment(2, 1, True, 0.7, 1),
        Segment(8, 3, True, 0.6, 0),
    )
    png, annotation = PanopticResult(segment_map, segments, CATEGORIES).to_coco_panoptic(1, "a.png")
    ids = check_as_an_evaluation_reads_it(png, annotation, {1, 3, 187})
    assert ids.tolist() == [[1, 1, 0], [0, 0, 2]]
    assert [entry["category_id"] for entry in annotation["segments_info"]] == [1, 3]


def test_a_map_of_void_alone_is_valid():
    png, annotation = PanopticResult(np.zeros((4, 4), np.int32), (), CATEGORIES).to_coco_panoptic(1, "a.png")
    assert not png.any()
    assert annotation["segments_info"] == []


@pytest.mark.parametrize("segment_id", [0, -1, 1 << 24])
def test_an_id_that_does_not_fit_the_png_is_an_error(segment_id):
    segment_map = np.full((2, 2), segment_id, np.int32)
    result = PanopticResult(segment_map, (Segment(segment_id, 1, True, 1.0, 4),), CATEGORIES)
    with pytest.raises(ValueError, match="does not fit"):
        result.to_coco_panoptic(1, "a.png")


def test_categories_are_written_once_and_as_coco_has_them():
    twice = (*CATEGORIES, Category(1, "other", False, (1, 2, 3)))
    categories = panoptic_document([], [], twice)["categories"]
    assert [key for key, _ in groupby(categories, key=lambda c: c["id"])] == [1, 3, 187]
    assert categories[0] == {
        "id": 1,
        "name": "person",
        "supercategory": "thing",
        "isthing": 1,
        "color": [220, 20, 60],
    }


def test_a_gray_picture_is_no_panoptic_png():
    with pytest.raises(ValueError, match="uint8"):
        read_panoptic_png(np.zeros((4, 4), np.uint8))
