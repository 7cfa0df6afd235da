"""The measures, against slow references written from their definitions."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segopt.coco.rle import decode_rle, encode_rle
from segopt_bench.evaluation.average_precision import AveragePrecision
from segopt_bench.evaluation.classes import TruthClass
from segopt_bench.evaluation.mean_iou import MeanIoU
from segopt_bench.evaluation.panoptic_quality import PanopticQuality, SegmentLabel, SegmentMap

CLASSES = tuple(TruthClass(i, f"class {i}", is_thing=i < 4) for i in (1, 2, 3, 7, 9))
IDS = [entry.id for entry in CLASSES]


def random_map(rng, *, crowds=False, strays=False):
    """A map of a few rectangles that overlap, some of them void; ids up to 2^24 - 1."""
    ids = np.zeros((24, 31), np.int32)
    labels = {}
    for _ in range(rng.integers(0, 9)):
        y, x = rng.integers(0, 22), rng.integers(0, 28)
        segment = int(rng.integers(1, 1 << 24)) if rng.random() < 0.8 else 0
        ids[y : y + rng.integers(1, 16), x : x + rng.integers(1, 20)] = segment
        if segment and not (strays and rng.random() < 0.1):
            crowd = crowds and rng.random() < 0.25
            labels[segment] = SegmentLabel(segment, int(rng.choice(IDS)), bool(crowd))
    if not strays:
        labels = {segment: label for segment, label in labels.items() if (ids == segment).any()}
    return SegmentMap(ids, tuple(labels.values()))


def disturbed(rng, truth):
    """The same segments, shifted by a pixel or two, some relabeled."""
    ids = np.roll(truth.ids, rng.integers(-2, 3, 2), (0, 1))
    labels = [
        SegmentLabel(label.id, label.category_id if rng.random() < 0.7 else int(rng.choice(IDS)))
        for label in truth.segments
        if (ids == label.id).any()
    ]
    known = [label.id for label in labels]
    return SegmentMap(np.where(np.isin(ids, known), ids, 0), labels)


def slow_panoptic_quality(pairs):
    """Sums by class, from the definitions: masks against masks, one pair at a time."""
    sums = {i: [0.0, 0, 0, 0] for i in IDS}
    for truth, found in pairs:
        void = truth.ids == 0
        true_matched, found_matched = set(), set()
        for t in truth.segments:
            for f in found.segments:
                if t.is_crowd or t.category_id != f.category_id:
                    continue
                a, b = truth.ids == t.id, (found.ids == f.id)
                union = np.count_nonzero(a | (b & ~void))
                iou = np.count_nonzero(a & b) / union if union else 0
                if iou > 0.5:
                    sums[t.category_id][0] += iou
                    sums[t.category_id][1] += 1
                    true_matched.add(t.id)
                    found_matched.add(f.id)
        for t in truth.segments:
            if not t.is_crowd and t.id not in true_matched:
                sums[t.category_id][3] += 1
        for f in found.segments:
            if f.id in found_matched:
                continue
            crowds = [t.id for t in truth.segments if t.is_crowd and t.category_id == f.category_id]
            excuse = void | (truth.ids == crowds[-1]) if crowds else void
            b = found.ids == f.id
            if np.count_nonzero(b & excuse) / np.count_nonzero(b) <= 0.5:
                sums[f.category_id][2] += 1
    return sums


@pytest.mark.parametrize("seed", range(20))
def test_pq_equals_a_slow_reference(seed):
    rng = np.random.default_rng(seed)
    quality = PanopticQuality(CLASSES)
    pairs = []
    for _ in range(6):
        truth = random_map(rng, crowds=True, strays=True)
        pairs.append((truth, disturbed(rng, truth) if rng.random() < 0.7 else random_map(rng)))
        quality.add(*pairs[-1])
    for i, (iou, matches, false, missed) in enumerate(slow_panoptic_quality(pairs).values()):
        assert quality.iou[i] == pytest.approx(iou, abs=1e-12)
        counts = quality.matches[i], quality.false[i], quality.missed[i]
        assert counts == (matches, false, missed)
        if any(counts):
            expected = iou / (matches + false / 2 + missed / 2)
            assert quality.of_class(IDS[i])["PQ"] == pytest.approx(expected, abs=1e-12)
        else:
            assert quality.of_class(IDS[i]) == {"PQ": None, "SQ": None, "RQ": None}


# PQ, SQ and RQ by panopticapi/evaluation.py at commit 7bb4655 on the maps of the test.
RECORDED = {
    "all": [0.5366071428571428, 0.5366071428571428, 0.75],
    "classes": {
        1: [0.775, 0.775, 1],
        2: [0.5714285714285714, 0.5714285714285714, 1],
        7: [0.8, 0.8, 1],
        9: [0, 0, 0],
    },
}


def grid(text):
    return np.array([[int(c) for c in row] for row in text.split()], np.int32)


def test_pq_equals_figures_recorded_from_panopticapi():
    truth = SegmentMap(
        grid("1111222200 1111222200 1111222233 4444555533 4444555533 4444666633"),
        [
            SegmentLabel(1, 1),
            SegmentLabel(2, 1),
            SegmentLabel(3, 2),
            SegmentLabel(4, 7),
            SegmentLabel(5, 9),
            SegmentLabel(6, 2, is_crowd=True),
        ],
    )
    found = SegmentMap(
        grid("1112222277 1112222277 1112222233 4444433333 4444433333 4444488833"),
        [
            SegmentLabel(1, 1),
            SegmentLabel(2, 1),
            SegmentLabel(3, 2),
            SegmentLabel(4, 7),
            SegmentLabel(7, 3),
            SegmentLabel(8, 2),
        ],
    )
    quality = PanopticQuality(CLASSES)
    quality.add(truth, found)
    assert RECORDED["all"] == pytest.approx([quality.mean_of(IDS)[name] for name in ("PQ", "SQ", "RQ")], abs=1e-9)
    for class_id, expected in RECORDED["classes"].items():
        assert [quality.of_class(class_id)[n] for n in ("PQ", "SQ", "RQ")] == pytest.approx(expected, abs=1e-9)
    assert quality.of_class(3)["PQ"] is None, "a segment on void is no error"


def test_pq_of_truth_fed_back_is_1_and_of_nothing_0():
    rng = np.random.default_rng(3)
    truth = random_map(rng)
    nothing = SegmentMap(np.zeros_like(truth.ids), [])
    same, empty, void = PanopticQuality(CLASSES), PanopticQuality(CLASSES), PanopticQuality(CLASSES)
    same.add(truth, truth)
    empty.add(truth, nothing)
    void.add(nothing, truth)
    assert set(same.mean_of(IDS).values()) == {1.0}
    assert set(empty.mean_of(IDS).values()) == {0.0}
    assert set(void.mean_of(IDS).values()) == {None}


def test_maps_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="differ in size"):
        PanopticQuality(CLASSES).add(SegmentMap(np.zeros((2, 3), np.int32), []), SegmentMap(np.zeros((3, 2)), []))
    with pytest.raises(ValueError, match="differ in size"):
        MeanIoU(CLASSES, {}).add(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


@pytest.mark.parametrize("seed", range(10))
def test_mean_iou_equals_a_slow_reference(seed):
    rng = np.random.default_rng(seed)
    to_truth = {0: 9, 1: 1, 4: 2, 5: 7}  # Nothing answers 3; the answers 2 and 3 are none of the classes.
    measure = MeanIoU(CLASSES, to_truth)
    truths, answers = [], []
    for _ in range(3):
        size = rng.integers(1, 20, 2)
        truths.append(rng.choice([*IDS[:-1], 255], size).astype(np.uint8))
        answers.append(rng.integers(0, 6, size).astype(np.uint8))
        measure.add(truths[-1], answers[-1])
    truth = np.concatenate([plane.ravel() for plane in truths]).tolist()
    answer = [to_truth.get(i, -1) for i in np.concatenate([plane.ravel() for plane in answers]).tolist()]
    seen = [(t, a) for t, a in zip(truth, answer, strict=True) if t != 255]
    ious = {}
    for i in IDS:
        both = sum(t == i and a == i for t, a in seen)
        either = sum(i in pair for pair in seen)
        ious[i] = both / either if either else None
        assert measure.of_class(i)["IoU"] == (pytest.approx(ious[i]) if either else None)
    defined = [iou for iou in ious.values() if iou is not None]
    totals = measure.mean_of(IDS)
    assert totals["mIoU"] == (pytest.approx(sum(defined) / len(defined)) if defined else None)
    if seen:
        assert totals["pixel accuracy"] == pytest.approx(sum(t == a for t, a in seen) / len(seen))


def coco_objects(rng, *, images=3):
    """COCO instances of rectangles with an L cut out, and a crowd."""
    document = {"images": [], "annotations": [], "categories": [{"id": i, "name": str(i)} for i in IDS]}
    for image_id in range(images):
        document["images"].append({"id": image_id, "file_name": f"{image_id}.jpg", "height": 120, "width": 160})
        for k in range(4):
            x, y, w, h = (int(v) for v in rng.integers(5, 60, 4))
            mask = np.zeros((120, 160), bool)
            mask[y : y + h, x : x + w] = True
            mask[y : y + h // 3, x : x + w // 3] = False
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": IDS[k % 3],
                    "iscrowd": int(k == 3 and image_id == 0),
                    "area": int(mask.sum()),
                    "bbox": [x, y, w, h],
                    "segmentation": encode_rle(mask, 120, 160),
                }
            )
    return document


def as_results(document):
    return [{**entry, "score": 0.9} for entry in document["annotations"] if not entry["iscrowd"]]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_ap_of_truth_fed_back_is_1(kind):
    document = coco_objects(np.random.default_rng(0))
    precision = AveragePrecision(kind, document, CLASSES, [0, 1, 2], as_results(document))
    assert precision.of(IDS)["AP"] == pytest.approx(1)
    assert precision.of(IDS)["AP75"] == pytest.approx(1)
    assert precision.of([9]) == dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl")), "no such object"


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_ap_equals_pycocotools_own_summary(kind):
    rng = np.random.default_rng(1)
    document = coco_objects(rng, images=6)
    results = []
    for entry in as_results(document):
        shift = np.roll(decode_rle(entry["segmentation"]), rng.integers(0, 9), 1)
        x, y, w, h = entry["bbox"]
        box = [x + float(rng.integers(-6, 6)), y, w, h]
        score = float(rng.random())
        results.append({**entry, "bbox": box, "segmentation": encode_rle(shift, 120, 160), "score": score})
    found = AveragePrecision(kind, document, CLASSES, range(6), results).of(IDS)

    truth = COCO()
    truth.dataset = document
    truth.createIndex()
    leave_out = "segmentation" if kind == "bbox" else "bbox"
    bare = [{k: v for k, v in entry.items() if k not in (leave_out, "area", "id", "iscrowd")} for entry in results]
    evaluator = COCOeval(truth, truth.loadRes(bare), kind)
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    assert list(found.values()) == pytest.approx([value if value >= 0 else None for value in evaluator.stats[:6]])
    assert 0.1 < found["AP"] < 0.9


def test_ap_without_detections_is_0():
    document = coco_objects(np.random.default_rng(0))
    assert AveragePrecision("segm", document, CLASSES, [0, 1, 2], []).of(IDS)["AP"] == 0


def test_ap_looks_at_the_given_pictures_alone():
    document = coco_objects(np.random.default_rng(0))
    results = [entry for entry in as_results(document) if entry["image_id"] == 1]
    assert AveragePrecision("bbox", document, CLASSES, [1], results).of(IDS)["AP"] == pytest.approx(1)
    assert AveragePrecision("bbox", document, CLASSES, [0, 1, 2], results).of(IDS)["AP"] < 0.5
