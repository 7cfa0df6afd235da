import json
from collections import Counter

import cv2
import numpy as np
import pytest

import clips
import segopt
import tiny
from segopt.coco.forms import read_panoptic_png
from segopt.errors import SinkError, UsageError
from segopt.pipeline.run import run_pipeline
from segopt.sinks.making import make_sinks, parse_saves
from segopt.sources import open_source


def run(engine, spec, output, saves, **options):
    with open_source(str(spec), **options) as source, segopt.load(engine) as segmenter:
        sinks = make_sinks(saves, output, source, segmenter.mode)
        run_pipeline(source, segmenter, sinks)
    return sinks


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_picture_gets_an_overlay_of_its_own(tmp_path, semantic_engine):
    folder = clips.pictures(tmp_path / "in", ["a.jpg", "a.png", "b.bmp"])
    (sink,) = run(semantic_engine, folder, tmp_path / "out", ["overlay"])
    assert files(tmp_path / "out") == ["overlay/a-2.png", "overlay/a.jpg", "overlay/b.jpg"]
    assert sink.count == 3
    overlay = cv2.imread(str(tmp_path / "out" / "overlay" / "a-2.png"))
    original = clips.frame(1)
    np.testing.assert_array_equal(overlay, segopt.load(semantic_engine)(original).draw(original))


def test_one_picture_gets_one_overlay_file(tmp_path, semantic_engine):
    folder = clips.pictures(tmp_path / "in", ["street.png"])
    run(semantic_engine, folder / "street.png", tmp_path / "out", ["overlay"])
    assert files(tmp_path / "out") == ["street-overlay.png"]


def test_overlays_never_replace_the_pictures_they_are_made_of(tmp_path, semantic_engine):
    folder = clips.pictures(tmp_path / "overlay", ["a.jpg", "b.jpg"])
    before = (folder / "a.jpg").read_bytes()
    with pytest.raises(SinkError, match="is a picture of the source"):
        run(semantic_engine, folder, tmp_path, ["overlay"])
    assert (folder / "a.jpg").read_bytes() == before


def test_a_video_gets_an_overlay_video(tmp_path, panoptic_engine):
    run(panoptic_engine, clips.clip(tmp_path / "drive.mp4", 9), tmp_path / "out", ["overlay"])
    assert files(tmp_path / "out") == ["drive-overlay.mp4"]
    assert clips.play(tmp_path / "out" / "drive-overlay.mp4").frames == 9


def test_panoptic_png_and_json_agree_pixel_by_pixel(tmp_path, panoptic_engine):
    folder = clips.pictures(tmp_path / "in", ["a.jpg", "b.jpg"], size=(96, 128))
    run(panoptic_engine, folder, tmp_path / "out", ["panoptic"])
    document = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert {category["id"]: category["isthing"] for category in document["categories"]} == {1: 1, 3: 1, 200: 0}
    assert [image["file_name"] for image in document["images"]] == ["a.jpg", "b.jpg"]
    assert [image["id"] for image in document["images"]] == [1, 2]
    for image, annotation in zip(document["images"], document["annotations"], strict=True):
        assert annotation["image_id"] == image["id"]
        png = cv2.imread(str(tmp_path / "out" / "panoptic" / annotation["file_name"]))
        assert png.shape[:2] == (image["height"], image["width"]) == (96, 128)
        ids = read_panoptic_png(png)
        areas = Counter(ids.ravel().tolist())
        areas.pop(0, None)
        assert areas == {segment["id"]: segment["area"] for segment in annotation["segments_info"]}
        expected = segopt.load(panoptic_engine)(cv2.imread(str(folder / image["file_name"])))
        np.testing.assert_array_equal(ids > 0, expected.segment_map > 0)


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["7.png", "12.png"], [7, 12]), (["7.png", "x.png"], [1, 2]), (["1.png", "01.png"], [1, 2])],
    ids=["numbers", "words", "equal numbers"],
)
def test_image_ids_are_the_pictures_numbers_where_they_have_some(tmp_path, names, expected):
    engine = tiny.instance_engine(tmp_path / "e.onnx")
    run(engine, clips.pictures(tmp_path / "in", names), tmp_path / "out", ["coco"])
    entries = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert sorted({entry["image_id"] for entry in entries}) == sorted(expected)


def test_coco_results_of_a_video_carry_the_frames_own_numbers(tmp_path, panoptic_engine):
    run(panoptic_engine, clips.clip(tmp_path / "a.mp4", 7), tmp_path / "out", ["coco"], stride=3)
    entries = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert sorted({entry["image_id"] for entry in entries}) == [0, 3, 6]
    assert {entry["category_id"] for entry in entries} == {1, 3}


def test_pycocotools_reads_the_results(tmp_path, panoptic_engine):
    coco_module = pytest.importorskip("pycocotools.coco")
    run(panoptic_engine, clips.pictures(tmp_path / "in", ["1.png", "2.png"]), tmp_path / "out", ["coco"])
    truth = coco_module.COCO()
    truth.dataset = {"images": [{"id": 1}, {"id": 2}], "annotations": [], "categories": [], "info": {}}
    truth.createIndex()
    results = truth.loadRes(str(tmp_path / "out" / "coco.json"))
    assert len(results.getAnnIds(imgIds=[1])) == 2


def test_nothing_found_is_an_empty_list(tmp_path):
    engine = tiny.instance_engine(tmp_path / "e.onnx", detections=())
    run(engine, clips.pictures(tmp_path / "in", ["a.png"]), tmp_path / "out", ["coco"])
    assert json.loads((tmp_path / "out" / "coco.json").read_text()) == []


@pytest.mark.parametrize("mode", ["semantic", "instance"])
def test_panoptic_form_is_refused_for_other_results(tmp_path, mode):
    folder = clips.pictures(tmp_path / "in", ["a.png"])
    with (
        open_source(str(folder)) as source,
        pytest.raises(UsageError, match=f"{mode} results have no such form; choose from overlay, coco"),
    ):
        make_sinks(["overlay", "panoptic"], tmp_path / "out", source, mode)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    folder = clips.pictures(tmp_path / "in", ["a.png"])
    (tmp_path / "out").write_bytes(b"")
    with open_source(str(folder)) as source, pytest.raises(SinkError, match=r"out.*--output"):
        make_sinks(["overlay"], tmp_path / "out", source, "semantic")


@pytest.mark.parametrize(
    ("text", "saves"),
    [("overlay", ("overlay",)), ("coco, overlay,coco", ("coco", "overlay")), ("none", ())],
)
def test_save_lists_are_read(text, saves):
    assert parse_saves(text) == saves


def test_an_unknown_save_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match="--save video: unknown; choose from overlay, panoptic, coco"):
        parse_saves("overlay,video")
