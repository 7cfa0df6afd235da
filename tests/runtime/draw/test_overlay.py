"""What a picture shows: colors where results are, the frame where they are not, names that can be read."""

import cv2
import numpy as np
import pytest

from segopt.draw.captions import Plates, Scale
from segopt.draw.overlay import shorten
from segopt.draw.palette import line_color
from segopt.masks.crop import MaskCrop
from segopt.model.categories import Category
from segopt.results import InstanceResult, PanopticResult, SemanticResult
from segopt.segment import Segment

RED, BLUE, GREEN = (220, 30, 30), (40, 60, 230), (40, 200, 40)
CATEGORIES = (
    Category(0, "__background__", False, (9, 9, 9)),
    Category(1, "person", True, RED),
    Category(2, "car", True, BLUE),
    Category(7, "grass-merged", False, GREEN),
)
SIZES = [(240, 320), (1, 1), (7, 500), (500, 7), (2160, 3840)]


def drawn(frame, result, **options):
    return result.draw(frame, **options)


def gray(height, width, value=128):
    return np.full((height, width, 3), value, np.uint8)


def blend(color, opacity=0.5, value=128):
    return np.array(color[::-1]) * opacity + value * (1 - opacity)


def semantic(height=240, width=320):
    classes = np.zeros((height, width), np.uint8)
    classes[:, width // 2 :] = 2
    return SemanticResult(classes, CATEGORIES)


def instances(boxes, labels=None, size=(240, 320)):
    crops = tuple(MaskCrop(x0, y0, np.ones((y1 - y0, x1 - x0), bool)) for x0, y0, x1, y1 in boxes)
    n = len(boxes)
    return InstanceResult(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.99, 0.5, n, dtype=np.float32),
        labels=np.array(labels if labels is not None else [1] * n, np.int32),
        crops=crops,
        size=size,
        categories=CATEGORIES,
    )


def panoptic(height=240, width=320, spread=1):
    segment_map = np.zeros((height, width), np.int32)
    segment_map[height // 2 :] = 2 * spread
    segment_map[height // 4 : height * 3 // 4, width // 4 : width // 2] = spread
    segments = (Segment(spread, 1, True, 0.98, 1), Segment(2 * spread, 7, False, 1.0, 1))
    return PanopticResult(segment_map, segments, CATEGORIES)


@pytest.mark.parametrize("make", [semantic, lambda: instances([(10, 50, 90, 200)]), panoptic])
def test_drawing_makes_a_new_picture_and_leaves_the_frame_alone(make):
    frame = gray(240, 320)
    frame.setflags(write=False)
    picture = make().draw(frame)
    assert picture.shape == frame.shape
    assert picture.dtype == np.uint8
    assert (frame == 128).all()
    assert (picture != 128).any()
    assert picture.flags.writeable


@pytest.mark.parametrize("make", [semantic, lambda: instances([(10, 50, 90, 200)]), panoptic])
def test_the_same_result_gives_the_same_picture(make):
    assert (make().draw(gray(240, 320)) == make().draw(gray(240, 320))).all()


@pytest.mark.parametrize("size", SIZES)
def test_any_size_of_frame_can_be_drawn_on(size):
    height, width = size
    boxes = [(0, 0, width, height), (0, 0, max(1, width // 2), max(1, height // 2))]
    for result in (semantic(*size), instances(boxes, size=size), panoptic(*size)):
        assert result.draw(gray(*size)).shape == (height, width, 3)


@pytest.mark.parametrize("make", [semantic, lambda: instances([(10, 50, 90, 200)]), panoptic])
@pytest.mark.parametrize("frame", [gray(120, 320), gray(240, 320)[..., 0], gray(240, 320).astype(np.float32)])
def test_a_frame_that_does_not_fit_the_result_is_an_error(make, frame):
    with pytest.raises(ValueError, match="frame"):
        make().draw(frame)


def test_classes_are_blended_with_the_frame_in_their_category_color():
    picture = drawn(gray(240, 320), semantic(), opacity=0.25)
    assert np.abs(picture[200, 300] - blend(BLUE, 0.25)).max() <= 1


def test_background_and_unknown_classes_stay_the_frame():
    result = semantic()
    result.classes[100:, :50] = 99
    picture = drawn(gray(240, 320), result)
    assert (picture[150:, :150] == 128).all()


@pytest.mark.parametrize("name", ["background", "Background", "__background__", "void", "unlabelled", "unlabeled"])
def test_background_is_known_by_its_name(name):
    result = SemanticResult(np.full((60, 80), 5, np.uint8), (Category(5, name, False, RED),))
    assert (drawn(gray(60, 80), result) == 128).all()


def test_the_legend_names_the_classes_that_are_present_and_no_others():
    result = semantic()
    two = SemanticResult(result.classes.copy(), CATEGORIES)
    two.classes[120:, 160:] = 1
    corner = np.s_[:120, :120]

    def swatch(picture, color):
        return (picture[corner] == color[::-1]).all(axis=2).sum()

    assert swatch(drawn(gray(240, 320), result), BLUE) > 20
    assert swatch(drawn(gray(240, 320), result), RED) == 0
    assert swatch(drawn(gray(240, 320), two), RED) > 20


def test_a_legend_of_too_many_classes_stays_inside_the_frame():
    categories = tuple(Category(i, f"class number {i}", False, (i, 255 - i, 90)) for i in range(256))
    classes = np.arange(256, dtype=np.uint8).repeat(300).reshape(240, 320)
    picture = drawn(gray(240, 320), SemanticResult(classes, categories))
    assert picture.shape == (240, 320, 3)


def test_all_256_classes_have_their_own_color():
    categories = tuple(Category(i, f"c{i}", False, (i, 255 - i, 90)) for i in range(256))
    classes = np.arange(256, dtype=np.uint8).reshape(1, 256).repeat(40, 0).repeat(8, 1)
    picture = drawn(gray(40, 2048), SemanticResult(classes, categories), opacity=1.0)
    for i in (200, 254, 255):
        assert picture[20, i * 8 + 4].tolist() == [90, 255 - i, i]


def test_void_stays_the_frame_and_segments_are_colored():
    picture = drawn(gray(240, 320), panoptic())
    assert (picture[5:30, 200:] == 128).all()
    assert np.abs(picture[235, 310] - blend(GREEN)).max() <= 1
    assert np.abs(picture[175, 85] - blend(RED)).max() <= 1


def test_outlines_are_lines_in_the_full_color_of_their_segment():
    picture = drawn(gray(240, 320), panoptic())
    assert picture[120, 300].tolist() == list(line_color(GREEN)[::-1])
    assert picture[175, 80].tolist() == list(line_color(RED)[::-1])
    assert (picture[119, 300] == 128).all()


def test_segment_ids_may_be_any_that_a_panoptic_png_can_hold():
    near = drawn(gray(240, 320), panoptic())
    assert (drawn(gray(240, 320), panoptic(spread=6_000_001)) == near).all()


@pytest.mark.parametrize("unknown", [3, 255, 256, 6_000_001, -1])
def test_pixels_of_an_id_that_no_segment_has_stay_the_frame(unknown):
    known = panoptic()
    segment_map = known.segment_map.copy()
    segment_map[:20] = unknown
    picture = drawn(gray(240, 320), PanopticResult(segment_map, known.segments, CATEGORIES))
    assert (picture == drawn(gray(240, 320), known)).all()


def test_hundreds_of_segments_keep_their_colors():
    n = 400
    segment_map = np.arange(1, n + 1, dtype=np.int32).reshape(20, 20).repeat(12, 0).repeat(16, 1)
    segments = tuple(Segment(i, 7, False, 1.0, 192) for i in range(1, n + 1))
    picture = drawn(gray(240, 320), PanopticResult(segment_map, segments, CATEGORIES))
    assert np.abs(picture[234, 310] - blend(GREEN)).max() <= 1


def test_objects_of_one_class_differ_and_the_largest_has_the_class_color():
    result = instances([(10, 100, 60, 200), (100, 60, 200, 220), (220, 100, 300, 220)])
    picture = drawn(gray(240, 320), result)
    colors = [picture[y, x].astype(int) for x, y in ((35, 180), (150, 180), (260, 180))]
    assert np.abs(colors[1] - blend(RED)).max() <= 1
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(colors[a] - colors[b]).max() > 15


def test_the_higher_score_is_seen_where_masks_overlap():
    result = instances([(40, 60, 160, 200), (100, 60, 280, 200)], labels=[1, 2])
    picture = drawn(gray(240, 320), result)
    assert np.abs(picture[180, 130] - blend(RED)).max() <= 1
    assert np.abs(picture[180, 220] - blend(BLUE)).max() <= 1


def test_no_objects_give_the_frame():
    assert (drawn(gray(240, 320), instances([])) == 128).all()


def test_an_object_with_an_empty_mask_is_still_boxed_and_named():
    result = instances([(50, 50, 50, 50)])
    assert (drawn(gray(240, 320), result) != 128).any()


def test_an_unknown_class_is_drawn_by_its_number():
    assert (drawn(gray(240, 320), instances([(50, 50, 150, 150)], labels=[77])) != 128).any()


@pytest.mark.parametrize("box", [(0, 0, 30, 10), (300, 0, 320, 10), (0, 230, 20, 240), (300, 230, 320, 240)])
def test_a_name_at_the_border_is_as_whole_as_one_in_the_middle(box):
    def plate_pixels(boxes):
        result = instances(boxes)
        empty = InstanceResult(
            result.boxes,
            result.scores,
            result.labels,
            (MaskCrop(0, 0, np.zeros((0, 0), bool)),),
            (240, 320),
            CATEGORIES,
        )
        return (drawn(gray(240, 320), empty) == RED[::-1]).all(axis=2)

    x0, y0, x1, y1 = box
    middle = plate_pixels([(150, 150, 150 + x1 - x0, 150 + y1 - y0)])
    border = plate_pixels([box])
    assert border.sum() >= 0.8 * middle.sum()


def test_plates_keep_off_each_other():
    canvas = gray(480, 640)
    plates = Plates(canvas, Scale.of(480, 640))
    assert all(plates.by_box("person 0.98", (300, 200, 60, 150), RED) for _ in range(4))
    before = canvas.copy()
    placed = [plates.by_box("person 0.98", (300, 200, 60, 150), BLUE) for _ in range(30)]
    assert not placed[-1]
    red = (before == RED[::-1]).all(axis=2).sum()
    assert (canvas == RED[::-1]).all(axis=2).sum() >= 0.4 * red


@pytest.mark.parametrize(("covered", "placed"), [(0.0, True), (0.26, True), (0.36, False), (0.6, False)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_name_that_would_be_a_third_hidden_is_left_out(covered, placed, axis):
    canvas = gray(1080, 1920)
    plates = Plates(canvas, Scale.of(1080, 1920))
    size = plates.measure("traffic light")
    assert plates.at("traffic light", 900, 500, RED)
    place = [900, 500]
    place[axis] += round((1 - covered) * size[axis])
    before = canvas.copy()
    assert plates.at("traffic light", *place, BLUE) is placed
    assert (canvas != before).any() == placed


def test_a_crowd_leaves_most_of_the_picture_visible():
    rng = np.random.default_rng(0)
    boxes = [
        (x, y, x + 12, y + 20) for x, y in zip(rng.integers(0, 300, 80), rng.integers(0, 215, 80), strict=True)
    ]
    picture = drawn(gray(240, 320), instances([tuple(map(int, box)) for box in boxes]), opacity=0.0)
    assert (picture == 128).all(axis=2).mean() > 0.6


def test_stuff_is_named_inside_its_region():
    segment_map = np.zeros((480, 640), np.int32)
    segment_map[:, 400:] = 1
    result = PanopticResult(segment_map, (Segment(1, 7, False, 1.0, 1),), CATEGORIES)
    picture = drawn(gray(480, 640), result)
    inside = picture[:, 404:].astype(int)
    named = np.argwhere(np.abs(inside - blend(GREEN)).max(axis=2) > 2)
    assert len(named) > 100
    assert (picture[:, :400] == 128).all()
    # The region is 240 wide: the name is in its middle, away from its borders.
    assert named[:, 1].min() > 40
    assert named[:, 1].max() < 200


@pytest.mark.parametrize(
    ("name", "short"),
    [("sky-other-merged", "sky"), ("door-stuff", "door"), ("floor-wood", "floor-wood"), ("person", "person")],
)
def test_coco_names_lose_their_tails(name, short):
    assert shorten(name) == short


def test_sizes_follow_the_frame():
    small, hd, uhd = Scale.of(240, 320), Scale.of(1080, 1920), Scale.of(2160, 3840)
    assert small.line <= hd.line < uhd.line
    assert small.font < hd.font < uhd.font


def test_the_cost_of_a_frame_does_not_go_with_the_number_of_objects():
    """Thirty times the objects cost something for their names, and no further pass over the frame."""

    def ticks(n):
        rng = np.random.default_rng(0)
        corners = [(0, 0), (1820, 1010), *zip(*rng.integers(0, 1000, (2, n - 2)).tolist(), strict=True)]
        result = instances([(x, y, x + 100, y + 70) for x, y in corners], size=(1080, 1920))
        frame = gray(1080, 1920)
        times = []
        for _ in range(7):
            start = cv2.getTickCount()
            drawn(frame, result)
            times.append(cv2.getTickCount() - start)
        return min(times)

    assert ticks(60) < 8 * ticks(2)
