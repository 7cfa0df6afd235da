"""Results are what users of the field expect: names, length, items, equality, a short text, a saved picture."""

import dataclasses
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

import clips
import segopt
import tiny
from segopt.errors import SegoptError, SinkError
from segopt.masks.crop import MaskCrop
from segopt.results import InstanceResult, PanopticResult, SemanticResult
from segopt.segment import Segment
from segopt.sinks.base import Finished
from segopt.sources.base import SourceFrame

SIZE = (48, 64)
CATEGORIES = (*tiny.THINGS, tiny.SKY)


def semantic(seed=0):
    classes = np.random.default_rng(seed).integers(0, 2, SIZE, dtype=np.uint8)
    return SemanticResult(classes, tiny.SEMANTIC_CATEGORIES)


def instances(seed=0, n=3):
    rng = np.random.default_rng(seed)
    crops, boxes = [], []
    for _ in range(n):
        height, width = rng.integers(1, 20, 2)
        y, x = rng.integers(0, SIZE[0] - height), rng.integers(0, SIZE[1] - width)
        crops.append(MaskCrop(int(x), int(y), rng.random((height, width)) > 0.3))
        boxes.append((x, y, x + width, y + height))
    return InstanceResult(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.5, n, dtype=np.float32),
        labels=rng.choice([1, 3], n).astype(np.int32),
        crops=tuple(crops),
        size=SIZE,
        categories=tiny.THINGS,
    )


def panoptic(seed=0, n=4):
    rng = np.random.default_rng(seed)
    segment_map = np.zeros(SIZE, np.int32)
    for i in range(1, n + 1):
        y, x = rng.integers(0, 40), rng.integers(0, 50)
        segment_map[y : y + rng.integers(1, 9), x : x + rng.integers(1, 14)] = i
    ids = [i for i in range(1, n + 1) if (segment_map == i).any()]
    segments = [Segment(i, int(rng.choice([1, 3])), True, 0.9, int((segment_map == i).sum())) for i in ids]
    return PanopticResult(segment_map, tuple(segments), CATEGORIES)


MAKERS = [semantic, instances, panoptic]


def changed(result):
    """The same result but for one pixel or number of each array field."""
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, np.ndarray):
            other = value.copy()
            other.flat[0] = 1 - other.flat[0]
            yield dataclasses.replace(result, **{field.name: other})
        elif field.name == "crops":
            other = value[0].mask.copy()
            other.flat[0] ^= True
            yield dataclasses.replace(result, crops=(dataclasses.replace(value[0], mask=other), *value[1:]))


@pytest.mark.parametrize("make", MAKERS)
def test_equal_results_are_equal_and_any_difference_tells(make):
    result, same = make(3), make(3)
    assert result == same
    assert (result != same) is False
    others = list(changed(result))
    assert others
    for other in others:
        assert result != other
    assert result != make(4)
    assert result != "a result"
    assert result in [make(4), same]


@pytest.mark.parametrize("make", MAKERS)
def test_results_of_other_frames_views_and_flags_differ(make):
    result = make()
    assert [result == other() for other in MAKERS] == [other is make for other in MAKERS]
    assert dataclasses.replace(result, categories=()) != result
    if make is not semantic:
        assert dataclasses.replace(result, converged=False) != result


def test_arrays_of_another_shape_differ():
    one, other = (SemanticResult(np.zeros(shape, np.uint8), ()) for shape in ((4, 6), (6, 4)))
    assert one != other


@pytest.mark.parametrize("make", MAKERS)
def test_a_result_has_no_hash_as_an_array_has_none(make):
    with pytest.raises(TypeError, match="unhashable"):
        hash(make())


def test_whatever_is_public_and_holds_arrays_can_be_compared():
    frame = SourceFrame(0, np.zeros((4, 4, 3), np.uint8), "0", "0.jpg")
    pairs = [
        (MaskCrop(1, 2, np.ones((3, 3), bool)), MaskCrop(1, 2, np.ones((3, 3), bool))),
        (instances()[0], instances()[0]),
        (Finished(frame, semantic()), Finished(dataclasses.replace(frame, image=frame.image.copy()), semantic())),
    ]
    for one, other in pairs:
        assert one == other
        assert one != object()
    assert pairs[0][0] != MaskCrop(1, 2, np.zeros((3, 3), bool))


@pytest.mark.parametrize("make", MAKERS)
def test_names_are_those_of_all_classes(make):
    result = make()
    assert result.names == {category.id: category.name for category in result.categories}


def test_texts_are_short_and_say_what_was_found(tmp_path):
    bright = np.full((432, 768, 3), 200, np.uint8)
    texts = {
        "semantic": "SemanticResult(432x768: bright)",
        "instance": "InstanceResult(432x768: person, car)",
        "panoptic": "PanopticResult(432x768: person, car, sky)",
    }
    engine = tiny.panoptic_engine(tmp_path / "e.onnx")
    for mode, text in texts.items():
        assert repr(segopt.load(engine, mode=mode)(bright)) == text
    crowd = (((0, 0, 9, 9), 0.9, 3), ((20, 20, 29, 29), 0.8, 1), ((40, 0, 49, 9), 0.7, 3))
    engine = tiny.panoptic_engine(tmp_path / "crowd.onnx", detections=crowd)
    assert repr(segopt.load(engine)(bright)) == "PanopticResult(432x768: car x2, person, sky)"


def test_a_text_says_when_nothing_was_found_or_boxes_are_in_doubt():
    nothing = instances(n=0)
    assert repr(nothing) == "InstanceResult(48x64: nothing)"
    doubtful = dataclasses.replace(nothing, converged=False)
    assert repr(doubtful) == "InstanceResult(48x64: nothing; not converged)"


def test_the_text_of_a_hundred_classes_stays_short():
    categories = tuple(segopt.Category(i, f"class number {i}", False, (0, 0, 0)) for i in range(100))
    result = SemanticResult(np.arange(100, dtype=np.uint8).reshape(10, 10), categories)
    assert repr(result).endswith("class number 7, 92 classes more)")
    assert len(repr(result)) < 200


def test_an_index_without_a_category_has_a_number_for_a_name():
    assert repr(SemanticResult(np.full((2, 2), 9, np.uint8), ())) == "SemanticResult(2x2: class 9)"
    assert panoptic().names.get(77) is None
    assert PanopticResult(np.ones((2, 2), np.int32), (Segment(1, 77, True, 1.0, 4),), ())[1].name == "class 77"


@pytest.mark.parametrize("seed", range(5))
def test_objects_are_the_rows_of_the_arrays(seed):
    result = instances(seed, n=5)
    assert len(result) == len(list(result)) == 5
    for i, found in enumerate(result):
        assert found == result[i] == result[i - 5] == result[np.int64(i)]
        np.testing.assert_array_equal(found.box, result.boxes[i])
        assert (found.score, found.label) == (float(result.scores[i]), int(result.labels[i]))
        assert found.name == result.names[found.label]
        np.testing.assert_array_equal(found.mask, result.mask(i))
        assert found.crop is result.crops[i]


def test_there_is_no_object_beyond_the_last():
    result = instances(n=2)
    for i in (2, -3):
        with pytest.raises(IndexError, match=f"object {i} of 2"):
            result[i]
    with pytest.raises(TypeError):
        result["person"]


def test_an_object_says_what_and_where_it_is():
    found = dataclasses.replace(instances()[0], box=np.array([1.2, 3, 40, 50.7], np.float32), name="car")
    assert repr(found) == "Instance(car 0.90, box 1, 3, 40, 51)"


@pytest.mark.parametrize("n", [0, 1, 5])
def test_all_masks_are_one_array(n):
    result = instances(7, n=n)
    assert (result.masks.dtype, result.masks.shape) == (np.bool_, (n, *SIZE))
    for i, mask in enumerate(result.masks):
        np.testing.assert_array_equal(mask, result.mask(i))


@pytest.mark.parametrize("seed", range(5))
def test_segments_are_found_by_their_id_and_have_names(seed):
    result = panoptic(seed)
    assert len(result) == len(result.segments)
    assert tuple(result) == result.segments
    for segment in result:
        assert result[segment.id] is segment
        assert segment.name == result.names[segment.category_id]
        assert segment.area == np.count_nonzero(result.mask(segment.id))


@pytest.mark.parametrize("segment_id", [0, 99, -1])
def test_an_unknown_segment_is_an_error(segment_id):
    with pytest.raises(KeyError, match=f"no segment {segment_id}"):
        panoptic()[segment_id]


@pytest.mark.parametrize("seed", range(20))
def test_boxes_of_segments_are_tight(seed):
    result = panoptic(seed, n=6)
    assert (result.boxes.dtype, result.boxes.shape) == (np.float32, (len(result), 4))
    for segment, box in zip(result, result.boxes, strict=True):
        rows, columns = np.nonzero(result.segment_map == segment.id)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_without_segments_there_are_no_boxes_and_a_lost_segment_has_zeros():
    assert PanopticResult(np.zeros(SIZE, np.int32), (), CATEGORIES).boxes.shape == (0, 4)
    lost = PanopticResult(np.zeros(SIZE, np.int32), (Segment(1, 1, True, 0.5, 0),), CATEGORIES)
    assert lost.boxes.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("make", MAKERS)
def test_without_supervision_the_error_says_what_to_install(monkeypatch, make):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(SegoptError, match=r"pip install 'supervision>=0\.30'"):
        make().to_supervision()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_save_writes_what_draw_draws(tmp_path, make, ending):
    frame = clips.frame(3, SIZE)
    path = tmp_path / "new" / f"overlay{ending}"
    make().save(path, frame, opacity=0.3)
    saved, drawn = cv2.imread(str(path)), make().draw(frame, opacity=0.3)
    if ending == ".png":
        np.testing.assert_array_equal(saved, drawn)
    assert saved.shape == drawn.shape
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_result_can_be_drawn_on_all_that_a_segmenter_takes(tmp_path):
    frame = clips.frame(3, SIZE)
    cv2.imwrite(str(tmp_path / "frame.png"), frame)
    for given in (str(tmp_path / "frame.png"), Image.fromarray(frame[..., ::-1].copy())):
        panoptic().save(str(tmp_path / "overlay.png"), given)
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / "overlay.png")), panoptic().draw(frame))


@pytest.mark.parametrize(
    ("path", "frame", "error", "words"),
    [
        ("a.png", clips.frame(0, (20, 20)), ValueError, "the frame is 20x20 and the result 64x48"),
        ("a.film", clips.frame(0, SIZE), SinkError, r"a\.film"),
        ("a", clips.frame(0, SIZE), SinkError, r"a: pictures are written as \.png, \.jpg"),
        ("a.jp2", clips.frame(0, SIZE), SinkError, r"a\.jp2: pictures are written as \.png, \.jpg"),
        ("file/a.png", clips.frame(0, SIZE), SinkError, "file: cannot be written"),
        ("a.png", clips.frame(0, SIZE).astype(np.float32), ValueError, "float32"),
    ],
)
def test_a_picture_that_cannot_be_saved_leaves_nothing(tmp_path, path, frame, error, words):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(error, match=words) as caught:
        semantic().save(tmp_path / path, frame)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
