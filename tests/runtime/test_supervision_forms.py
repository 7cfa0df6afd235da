"""Results as supervision takes them, checked against the real package."""

import warnings

import numpy as np
import pytest

import segopt
import tiny

# Without opencv-python, which is not needed, supervision says so.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sv = pytest.importorskip(
        "supervision", reason="supervision is not installed (pip install 'supervision>=0.30')"
    )

FRAME = np.full((96, 128, 3), 200, np.uint8)
FRAME[:40] = 20


def result_of(tmp_path, mode, **options):
    return segopt.load(tiny.panoptic_engine(tmp_path / "e.onnx", **options), mode=mode)(FRAME)


def assert_whole(detections, count):
    assert isinstance(detections, sv.Detections)
    assert len(detections) == count
    assert detections.xyxy.shape == (count, 4)
    assert (detections.mask.dtype, detections.mask.shape) == (np.bool_, (count, 96, 128))
    assert detections.class_id.shape == (count,)
    assert len(detections.data["class_name"]) == count


def test_objects_become_detections(tmp_path):
    result = result_of(tmp_path, "instance")
    detections = result.to_supervision()
    assert_whole(detections, 2)
    np.testing.assert_array_equal(detections.xyxy, result.boxes)
    np.testing.assert_array_equal(detections.confidence, result.scores)
    np.testing.assert_array_equal(detections.class_id, result.labels)
    np.testing.assert_array_equal(detections.mask, result.masks)
    assert detections.data["class_name"].tolist() == ["person", "car"]


def test_segments_become_detections_things_and_stuff(tmp_path):
    result = result_of(tmp_path, "panoptic")
    detections = result.to_supervision()
    assert_whole(detections, 3)
    assert detections.data["class_name"].tolist() == ["person", "car", "sky"]
    np.testing.assert_array_equal(detections.xyxy, result.boxes)
    assert detections.confidence.tolist() == [segment.score for segment in result]
    for mask, segment in zip(detections.mask, result, strict=True):
        np.testing.assert_array_equal(mask, result.mask(segment.id))


def test_classes_become_detections(tmp_path):
    result = result_of(tmp_path, "semantic")
    detections = result.to_supervision()
    assert_whole(detections, 2)
    assert detections.class_id.tolist() == [0, 1]
    assert detections.data["class_name"].tolist() == ["dark", "bright"]
    assert detections.confidence is None
    assert detections.xyxy.tolist() == [[0, 0, 128, 40], [0, 40, 128, 96]]
    np.testing.assert_array_equal(detections.mask[1], result.classes == 1)


@pytest.mark.parametrize("mode", ["instance", "panoptic"])
def test_nothing_found_is_no_detection(tmp_path, mode):
    result = result_of(tmp_path, mode, detections=(), stuff_area=10**6)
    assert len(result) == 0
    assert len(result.to_supervision()) == 0


@pytest.mark.parametrize("mode", ["semantic", "instance", "panoptic"])
def test_supervision_can_filter_merge_and_draw_them(tmp_path, mode):
    detections = result_of(tmp_path, mode).to_supervision()
    first = detections[detections.class_id == detections.class_id[0]]
    assert len(first) == 1
    assert len(sv.Detections.merge([first, detections])) == 1 + len(detections)
    drawn = sv.MaskAnnotator(color_lookup=sv.ColorLookup.INDEX).annotate(FRAME.copy(), first)
    changed = (drawn != FRAME).any(axis=2)
    np.testing.assert_array_equal(changed, first.mask[0])
    labeled = sv.LabelAnnotator(color_lookup=sv.ColorLookup.INDEX).annotate(FRAME.copy(), detections)
    assert (labeled != FRAME).any()


@pytest.mark.parametrize("make", [tiny.semantic_engine, tiny.instance_engine, tiny.panoptic_engine])
def test_areas_agree_with_supervisions_own(tmp_path, make):
    detections = segopt.load(make(tmp_path / "e.onnx"))(FRAME).to_supervision()
    last = sv.mask_to_xyxy(detections.mask)
    # Supervision names the last pixel, a box of ours ends behind it.
    if make is not tiny.instance_engine:
        np.testing.assert_array_equal(last + np.array([0, 0, 1, 1]), detections.xyxy)
    assert detections.area.tolist() == [np.count_nonzero(mask) for mask in detections.mask]
