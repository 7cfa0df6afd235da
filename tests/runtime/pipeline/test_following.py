import json

import cv2
import numpy as np
import pytest

import clips
import segopt
import tiny
from segopt.coco.forms import read_panoptic_png
from segopt.errors import SinkError, UsageError
from segopt.sinks.coco import LARGEST_ID, check_ids


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return tiny.panoptic_engine(tmp_path_factory.mktemp("engine") / "e.onnx", batch=4)


def annotations(folder):
    """By frame, ids and what they stand for, as JSON and PNG have them, which agree."""
    found = []
    for annotation in json.loads((folder / "panoptic.json").read_text())["annotations"]:
        segments = {info["id"]: info["category_id"] for info in annotation["segments_info"]}
        png = read_panoptic_png(cv2.imread(str(folder / "panoptic" / annotation["file_name"])))
        assert set(np.unique(png)) - {0} == set(segments)
        found.append(segments)
    return found


def test_ids_last_in_png_and_json_and_are_the_same_for_every_batch(tmp_path, engine):
    clips.clip(tmp_path / "drive.mp4", 10)
    runs = {}
    for batch in (1, 4):
        stats = segopt.run(
            engine,
            tmp_path / "drive.mp4",
            save="panoptic,coco",
            output=tmp_path / str(batch),
            batch=batch,
            track=True,
        )
        runs[batch] = annotations(tmp_path / str(batch))
        assert stats.objects == 2
    assert runs[1] == runs[4]
    assert all(segments == {201: 1, 202: 3, 200: 200} for segments in runs[1])
    entries = json.loads((tmp_path / "1" / "coco.json").read_text())
    assert {(entry["category_id"], entry["track_id"]) for entry in entries} == {(1, 201), (3, 202)}


def test_a_stream_follows(tmp_path, engine):
    clips.clip(tmp_path / "drive.mp4", 3)
    with segopt.load(engine) as segmenter:
        for item in segopt.stream(segmenter, tmp_path / "drive.mp4", track=True):
            assert [segment.track for segment in item.result] == [201, 202, None]


def test_a_semantic_model_is_refused_before_anything_is_written(tmp_path, semantic_engine, segopt_cli):
    clips.clip(tmp_path / "drive.mp4", 3)
    status, _, err = segopt_cli(
        "run", "--engine", semantic_engine, tmp_path / "drive.mp4", "--track", "--output", tmp_path / "o"
    )
    assert status == 2
    assert err.count("\n") == 1
    assert "--track: semantic results have no objects" in err
    assert not (tmp_path / "o").exists()
    with segopt.load(semantic_engine) as segmenter, pytest.raises(UsageError, match="no objects"):
        segopt.stream(segmenter, [], track=True)


def test_ids_that_a_png_has_no_room_for_are_refused_and_do_not_begin_again():
    result = segopt.PanopticResult(np.zeros((1, 1), np.int32), (segopt.Segment(LARGEST_ID, 1, True, 1.0, 1),), ())
    check_ids(result, LARGEST_ID, "x.json: a panoptic PNG")
    with pytest.raises(SinkError, match="holds ids up to 9, and object 16777215 came"):
        check_ids(result, 9, "x.json: a panoptic PNG")
