import itertools
import json
from collections import Counter
from fractions import Fraction

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from segopt.coco.forms import read_panoptic_png
from segopt_bench.scenes import (
    CATEGORIES,
    FEWEST_PIXELS,
    FIRST_THING_ID,
    SEMANTIC_CATEGORIES,
    STUFF,
    STUFF_CLASSES,
    THINGS,
    Scene,
    render_clip,
    write_clip,
    write_dataset,
)
from segopt_bench.scenes.__main__ import main
from segopt_bench.scenes.sketch import Sketch

SIZE = (144, 256)
SEEDS = range(1000, 1060)


@pytest.fixture(scope="module")
def many():
    """One picture of each of many scenes."""
    return [Scene(seed).render(*SIZE) for seed in SEEDS]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A small dataset on disk, and the seeds in it."""
    folder = tmp_path_factory.mktemp("scenes")
    write_dataset(folder, range(3, 9), SIZE)
    return folder, list(range(3, 9))


def equal(a, b):
    return (
        np.array_equal(a.frame, b.frame)
        and np.array_equal(a.segment_map, b.segment_map)
        and np.array_equal(a.classes, b.classes)
        and a.segments == b.segments
    )


def things_touch(segment_map):
    """Whether two different things lie side by side somewhere."""
    pairs = ((segment_map[:, 1:], segment_map[:, :-1]), (segment_map[1:], segment_map[:-1]))
    return any(((a != b) & (a >= FIRST_THING_ID) & (b >= FIRST_THING_ID)).any() for a, b in pairs)


def test_ids_of_categories_serve_detector_semantic_map_and_merger():
    assert [category.id for category in THINGS] == list(range(1, len(THINGS) + 1))
    assert [category.id for category in SEMANTIC_CATEGORIES] == list(range(len(CATEGORIES)))
    by_id = {category.id: category for category in CATEGORIES}
    assert {by_id[i].name for i in STUFF_CLASSES.values()} == {category.name for category in STUFF}
    for index, category_id in STUFF_CLASSES.items():
        assert SEMANTIC_CATEGORIES[index].name == by_id[category_id].name
        assert not by_id[category_id].is_thing
    assert len({category.color for category in CATEGORIES}) == len(CATEGORIES)


def test_the_same_seed_gives_the_same_bytes_whatever_was_drawn_before():
    first = Scene(11).render(*SIZE, time=1.5)
    scene = Scene(11)
    scene.render(96, 96, time=7.0)
    np.random.seed(3)
    assert equal(first, scene.render(*SIZE, time=1.5))


def test_seeds_and_times_differ():
    scene = Scene(11)
    first = scene.render(*SIZE)
    assert not np.array_equal(first.frame, Scene(12).render(*SIZE).frame)
    assert not np.array_equal(first.segment_map, scene.render(*SIZE, time=1.0).segment_map)


@pytest.mark.parametrize("size", [(192, 320), (33, 47), (256, 448), (320, 240), (544, 960)])
def test_any_size(size):
    rendered = Scene(5).render(*size)
    assert rendered.frame.shape == (*size, 3)
    assert rendered.frame.dtype == np.uint8
    assert rendered.segment_map.shape == rendered.classes.shape == size
    assert rendered.segment_map.dtype == np.int32
    assert rendered.classes.dtype == np.uint8


@pytest.mark.parametrize("seed", range(6))
def test_a_scene_looks_the_same_at_two_sizes(seed):
    scene = Scene(seed)
    small, large = scene.render(144, 256), scene.render(288, 512)
    assert {thing.id for thing in small.things} <= {thing.id for thing in large.things}
    assert (small.classes == large.classes[::2, ::2]).mean() > 0.97
    shrunk = cv2.resize(large.frame, (256, 144), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(int) - small.frame).mean() < 14


@pytest.mark.slow
def test_segments_are_exactly_the_map(many):
    by_id = {category.id: category for category in CATEGORIES}
    for rendered in many:
        ids, areas = np.unique(rendered.segment_map, return_counts=True)
        assert ids[0] > 0, "there is no void"
        assert [segment.id for segment in rendered.segments] == ids.tolist()
        assert [segment.area for segment in rendered.segments] == areas.tolist()
        for segment in rendered.segments:
            assert segment.is_thing == by_id[segment.category_id].is_thing == (segment.id >= FIRST_THING_ID)
            assert (rendered.classes[rendered.segment_map == segment.id] == segment.category_id - 1).all()
            if segment.is_thing:
                assert segment.area >= FEWEST_PIXELS
            else:
                assert segment.id == segment.category_id


def test_every_category_has_its_share_of_the_scenes(many):
    seen = Counter(
        category_id for rendered in many for category_id in {segment.category_id for segment in rendered.segments}
    )
    shares = {category.name: seen[category.id] / len(many) for category in CATEGORIES}
    assert all(share >= 0.2 for share in shares.values()), shares


def test_things_are_many_and_of_all_sizes(many):
    counts = [len(rendered.things) for rendered in many]
    assert np.mean(counts) >= 5
    assert np.mean(np.array(counts) >= 2) > 0.95
    areas = np.array([thing.area for rendered in many for thing in rendered.things]) / (SIZE[0] * SIZE[1])
    assert np.percentile(areas, 10) < 0.004
    assert np.percentile(areas, 90) > 0.03
    assert areas.max() < 0.8


def test_things_are_cut_by_the_border_and_hide_each_other(many):
    def cut(segment_map):
        rim = np.concatenate((segment_map[0], segment_map[-1], segment_map[:, 0], segment_map[:, -1]))
        return (rim >= FIRST_THING_ID).any()

    assert 0.3 < np.mean([cut(rendered.segment_map) for rendered in many]) < 0.98
    assert np.mean([things_touch(rendered.segment_map) for rendered in many]) > 0.4


def test_pictures_vary_in_light(many):
    levels = [rendered.frame.mean() for rendered in many]
    assert 70 < np.mean(levels) < 170
    assert np.std(levels) > 8


def test_ids_stay_with_their_objects_over_time():
    frames = list(render_clip(24, SIZE, frames=16, rate=Fraction(15)))
    category_of = {}
    for before, after in itertools.pairwise(frames):
        for thing in after.things:
            assert category_of.setdefault(thing.id, thing.category_id) == thing.category_id
        both = {thing.id for thing in before.things} & {thing.id for thing in after.things}
        assert both
        for thing_id in both:
            a, b = (np.argwhere(frame.segment_map == thing_id) for frame in (before, after))
            if min(len(a), len(b)) > 150:
                assert np.abs(a.mean(axis=0) - b.mean(axis=0)).max() < 20


def test_motion_is_smooth():
    frames = list(render_clip(24, SIZE, frames=6, rate=Fraction(15)))
    for before, after in itertools.pairwise(frames):
        assert (before.classes == after.classes).mean() > 0.9
        assert not np.array_equal(before.segment_map, after.segment_map)


def test_an_outline_is_soft_in_the_picture_and_exact_in_the_mask():
    sketch = Sketch()
    sketch.polygon(np.array([[2.0, 2.0], [10.2, 2.0], [10.2, 9.0], [2.0, 9.0]]), (0, 0, 255))
    layer = sketch.layer(20, 20)
    mask = np.zeros((20, 20), bool)
    mask[layer.window] = layer.mask
    assert mask[2:9, 2:10].all()
    assert mask.sum() == 7 * 8, "a pixel belongs to what covers its center"
    cover = layer.cover[3 - layer.y, 10 - layer.x, 0]
    assert 0.2 < cover < 0.8


def test_instances_are_valid_coco(dataset):
    folder, seeds = dataset
    coco = COCO(str(folder / "instances.json"))
    assert sorted(coco.getCatIds()) == [category.id for category in THINGS]
    for image_id, seed in enumerate(seeds):
        rendered = Scene(seed).render(*SIZE)
        entry = coco.loadImgs(image_id)[0]
        assert (entry["height"], entry["width"]) == SIZE
        assert cv2.imread(str(folder / "images" / entry["file_name"])).shape == (*SIZE, 3)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        assert len(annotations) == len(rendered.things)
        for annotation, thing in zip(annotations, rendered.things, strict=True):
            mask = rendered.segment_map == thing.id
            assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
            assert annotation["category_id"] == thing.category_id
            assert annotation["area"] == thing.area
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            x, y, width, height = annotation["bbox"]
            assert (x, y) == (columns[0], rows[0])
            assert (x + width, y + height) == (columns[-1] + 1, rows[-1] + 1)
    assert len({annotation["id"] for annotation in coco.anns.values()}) == len(coco.anns)


def test_panoptic_files_equal_the_map(dataset):
    folder, seeds = dataset
    document = json.loads((folder / "panoptic.json").read_text())
    assert [category["id"] for category in document["categories"]] == [category.id for category in CATEGORIES]
    for image, annotation, seed in zip(document["images"], document["annotations"], seeds, strict=True):
        assert image["id"] == annotation["image_id"]
        rendered = Scene(seed).render(*SIZE)
        png = cv2.imread(str(folder / "panoptic" / annotation["file_name"]))
        assert np.array_equal(read_panoptic_png(png), rendered.segment_map)
        told = {info["id"]: (info["category_id"], info["area"]) for info in annotation["segments_info"]}
        assert told == {segment.id: (segment.category_id, segment.area) for segment in rendered.segments}


def test_semantic_files_equal_the_map(dataset):
    folder, seeds = dataset
    names = json.loads((folder / "classes.json").read_text())["categories"]
    assert [entry["name"] for entry in names] == [category.name for category in SEMANTIC_CATEGORIES]
    for i, seed in enumerate(seeds):
        classes = cv2.imread(str(folder / "semantic" / f"{i:06d}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(classes, Scene(seed).render(*SIZE).classes)


def test_a_dataset_is_the_same_bytes_each_time(dataset, tmp_path):
    folder, seeds = dataset
    write_dataset(tmp_path, seeds, SIZE)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_a_clip_has_a_video_and_the_truth_of_each_frame(tmp_path):
    done = []
    path = write_clip(tmp_path, 24, (96, 160), frames=5, progress=done.append)
    assert done == [1, 2, 3, 4, 5]
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert len(list((tmp_path / "panoptic").glob("*.png"))) == 5


def test_the_command_writes_scenes(tmp_path, capsys):
    assert main(["--output", str(tmp_path / "out"), "--count", "2", "--size", "64x96", "--seed", "4"]) == 0
    assert len(list((tmp_path / "out" / "images").glob("*.jpg"))) == 2
    assert "2 scenes" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--size", "64"], ["--size", "0x5"], ["--count", "0"], ["--count", "x"]])
def test_the_command_refuses_bad_values(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(["--output", str(tmp_path), *arguments])
    assert stop.value.code == 2
    assert "give" in capsys.readouterr().err


def test_the_command_says_what_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--output", str(tmp_path / "file"), "--count", "1", "--size", "64x96"]) == 1
    assert "file" in capsys.readouterr().err
