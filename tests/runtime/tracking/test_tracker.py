import copy
import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest

import segopt
from segopt.draw.palette import SHADES
from segopt.errors import UsageError
from segopt.masks.crop import MaskCrop
from segopt.masks.label_runs import LabelRuns
from segopt.merge import merge_codes
from segopt.model.categories import Category
from segopt.results import InstanceResult, PanopticResult, SemanticResult
from segopt.segment import Segment

PERSON, CAR, SKY = 1, 3, 200
CATEGORIES = (
    Category(PERSON, "person", is_thing=True, color=(220, 20, 60)),
    Category(CAR, "car", is_thing=True, color=(0, 0, 142)),
    Category(SKY, "sky", is_thing=False, color=(70, 130, 180)),
)
SIZE = 120, 400


def panoptic(*things, sky=True, categories=CATEGORIES):
    """A map with these things on it: (label, x, y, width, height), the first on top."""
    segment_map = np.full(SIZE, len(things) + 1 if sky else 0, np.int32)
    for i, (_, x, y, width, height) in reversed(list(enumerate(things, start=1))):
        segment_map[y : y + height, x : x + width] = i
    segments = [
        Segment(i, label, True, 1 - i / 100, int((segment_map == i).sum()))
        for i, (label, *_) in enumerate(things, 1)
    ]
    if sky:
        segments.append(Segment(len(things) + 1, SKY, False, 1.0, int((segment_map == len(things) + 1).sum())))
    return PanopticResult(segment_map, tuple(segments), categories)


def instances(*things):
    boxes = np.array([(x, y, x + w, y + h) for _, x, y, w, h in things], np.float32).reshape(-1, 4)
    crops = tuple(MaskCrop(x, y, np.ones((h, w), np.bool_)) for _, x, y, w, h in things)
    labels = np.array([label for label, *_ in things], np.int32)
    return InstanceResult(boxes, np.full(len(things), 0.9, np.float32), labels, crops, SIZE, CATEGORIES[:2])


def tracks(result):
    return [segment.track for segment in result.segments if segment.is_thing]


def test_an_object_that_moves_keeps_its_number_whatever_its_place_in_the_list():
    tracker = segopt.Tracker()
    first = tracker(panoptic((CAR, 10, 10, 40, 30), (CAR, 200, 10, 40, 30)), 0)
    second = tracker(panoptic((CAR, 190, 10, 40, 30), (CAR, 22, 12, 40, 30)), Fraction(1, 15))
    assert tracks(first) == [201, 202]
    assert tracks(second) == [202, 201]
    assert [segment.age for segment in second.segments] == [pytest.approx(1 / 15)] * 2 + [None]
    assert tracker.count == 2


def test_ids_are_the_same_in_map_and_segments_and_stuff_has_its_categorys():
    tracked = segopt.Tracker()(panoptic((CAR, 10, 10, 40, 30), (PERSON, 200, 10, 20, 60)), 0)
    assert {s.id: s.area for s in tracked.segments} == {201: 1200, 202: 1200, SKY: 120 * 400 - 2400}
    assert [s.id for s in tracked.segments if not s.is_thing] == [SKY]
    ids, areas = np.unique(tracked.segment_map, return_counts=True)
    assert dict(zip(ids.tolist(), areas.tolist(), strict=True)) == {s.id: s.area for s in tracked.segments}
    assert tracked.segment_map[20, 20] == 201


def test_a_merge_that_has_no_map_yet_gets_the_ids_that_its_map_would_get():
    rng = np.random.default_rng(0)
    boxes = np.array([[20, 10, 90, 60], [60, 20, 140, 100], [300, 5, 303, 9]], np.float32)
    masks = rng.random((3, 28, 28), np.float32) * 0.4 + 0.45
    merged = merge_codes(
        boxes,
        np.array([0.9, 0.8, 0.7], np.float32),
        np.array([CAR, PERSON, CAR]),
        masks,
        np.ones(SIZE, np.uint8),
        {1: SKY},
    )
    lazy = PanopticResult.of_merged(merged, CATEGORIES, True)
    made = PanopticResult(merged.segment_map(), merged.segments, CATEGORIES)
    assert np.array_equal(lazy.thing_boxes(), made.thing_boxes())
    before = made.segment_map.copy()
    one, other = segopt.Tracker()(lazy, 0), segopt.Tracker()(made, 0)
    assert one == other
    assert np.array_equal(made.segment_map, before)
    frame = np.full((*SIZE, 3), 90, np.uint8)
    assert np.array_equal(one.draw(frame), other.draw(frame))
    for name, value in vars(LabelRuns.of(one.segment_map)).items():
        assert np.array_equal(getattr(one.runs, name), value)
    for same in (pickle.loads(pickle.dumps(one)), copy.copy(one), dataclasses.replace(one)):
        assert same == one
    with pytest.raises(AttributeError, match="no attribute 'segment_maps'"):
        _ = one.segment_maps


def test_a_number_is_never_given_twice_and_no_object_crosses_classes():
    tracker = segopt.Tracker()
    given = [
        tracks(tracker(panoptic((label, 10, 10, 40, 30)), i / 15))[0] for i, label in enumerate([CAR, PERSON, CAR])
    ]
    assert given == [201, 202, 201]


@pytest.mark.parametrize(("gone", "same"), [(0.9, True), (1.1, False)])
def test_an_object_is_waited_for_for_a_second(gone, same):
    tracker = segopt.Tracker()
    (before,) = tracks(tracker(panoptic((CAR, 10, 10, 40, 30)), 0))
    assert tracks(tracker(panoptic(), gone / 2)) == []
    (after,) = tracks(tracker(panoptic((CAR, 10, 10, 40, 30)), gone))
    assert (after == before) is same


def test_an_object_that_is_hidden_is_expected_where_its_way_leads():
    tracker = segopt.Tracker()
    seen = [tracks(tracker(panoptic((CAR, 10 + 12 * i, 10, 30, 30)), i / 15)) for i in range(6)]
    (again,) = tracks(tracker(panoptic((CAR, 10 + 12 * 12, 10, 30, 30)), 12 / 15))
    assert seen == [[again]] * 6


def test_a_fast_object_is_found_by_its_grown_box():
    tracker = segopt.Tracker()
    (before,) = tracks(tracker(panoptic((CAR, 10, 10, 30, 30)), 0))
    (after,) = tracks(tracker(panoptic((CAR, 60, 10, 30, 30)), 1 / 5))
    assert before == after


def test_no_two_visible_objects_of_a_class_share_a_shade_and_each_keeps_its_own():
    tracker = segopt.Tracker()
    kept = {}
    for i in range(30):
        # Ten new objects every fifth frame, when those that were there before are forgotten.
        result = tracker(panoptic(*[(CAR, 4 + 38 * k, 60 * (i // 5 % 2), 8, 8) for k in range(10)]), 0.3 * i)
        for segment in result.segments[:-1]:
            assert kept.setdefault(segment.track, segment.shade) == segment.shade
        assert len({segment.shade for segment in result.segments[:-1]}) == 10
    assert len(kept) == tracker.count > SHADES


def test_48_visible_objects_have_48_shades_after_others_were_there():
    tracker = segopt.Tracker()
    tracker(panoptic(*[(CAR, 16 * k, 100, 6, 6) for k in range(20)]), 0)
    crowd = [(CAR, 16 * (k % 24), 20 * (k // 24), 6, 6) for k in range(SHADES)]
    result = tracker(panoptic(*crowd), 0.2)
    assert {segment.shade for segment in result.segments[:-1]} == set(range(SHADES))


def test_instances_get_tracks_by_what_their_masks_show():
    tracker = segopt.Tracker()
    first = tracker(instances((CAR, 10, 10, 40, 30), (PERSON, 200, 10, 20, 60)), 0)
    second = tracker(instances((PERSON, 205, 10, 20, 60), (CAR, 12, 10, 40, 30)), 0.1)
    assert first.tracks.dtype == np.int32
    assert (first.tracks.tolist(), second.tracks.tolist()) == ([4, 5], [5, 4])
    assert second.ages == pytest.approx([0.1, 0.1])
    assert second[0].track == 5
    assert [entry["track_id"] for entry in second.to_coco(1)] == [5, 4]
    assert "track_id" not in instances((CAR, 10, 10, 40, 30)).to_coco(1)[0]


def test_the_caption_is_the_name_and_the_number(monkeypatch):
    from segopt.draw import captions

    said = []
    monkeypatch.setattr(captions, "write", lambda _, text, *__: said.append(text))
    frame = np.zeros((*SIZE, 3), np.uint8)
    segopt.Tracker()(panoptic((CAR, 10, 10, 90, 60), sky=False), 0).draw(frame)
    segopt.Tracker()(instances((CAR, 10, 10, 90, 60)), 0).draw(frame)
    assert said == ["car 201", "car 4"]


def test_frames_without_time_are_a_25th_apart_and_a_clock_that_runs_back_stands():
    tracker = segopt.Tracker()
    for time in (None, None, 0.03):
        result = tracker(panoptic((CAR, 10, 10, 40, 30)), time)
    assert result.segments[0].age == pytest.approx(1 / 25)


def test_category_0_and_void_do_not_meet():
    categories = (Category(0, "sky", is_thing=False, color=(1, 2, 3)), CATEGORIES[1])
    segment_map = np.ones(SIZE, np.int32)
    segment_map[:9, :9] = 2
    segments = (Segment(2, CAR, True, 0.9, 81), Segment(1, 0, False, 1.0, segment_map.size - 81))
    tracked = segopt.Tracker()(PanopticResult(segment_map, segments, categories), 0)
    assert sorted(np.unique(tracked.segment_map)) == sorted(s.id for s in tracked.segments) == [4, 5]


def test_semantic_results_and_another_models_classes_are_refused():
    tracker = segopt.Tracker()
    with pytest.raises(UsageError, match="SemanticResult has none"):
        tracker(SemanticResult(np.zeros(SIZE, np.uint8), CATEGORIES))
    tracker(panoptic(), 0)
    with pytest.raises(UsageError, match="other classes"):
        tracker(panoptic(categories=CATEGORIES[1:]), 1)
