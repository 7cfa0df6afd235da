"""Evaluating engines and folders: the tiny engines on ground truth that is laid out by hand."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

import segopt
import tiny
from segopt.coco.rle import encode_rle
from segopt.masks.paste import paste_mask
from segopt.pipeline.run import run_pipeline
from segopt.sinks.making import make_sinks
from segopt.sources import open_source
from segopt_bench.evaluation import EvaluationError, evaluate_engine, evaluate_predictions, open_data

SIZE = tiny.CANVAS
THINGS = [(box, label) for box, score, label in tiny.DETECTIONS if score >= 0.5]
CATEGORIES = [
    {"id": 11, "name": "Person", "isthing": 1},
    {"id": 12, "name": "car", "isthing": 1},
    {"id": 13, "name": "sky", "isthing": 0},
]
CATEGORY_OF = {1: 11, 3: 12}


def picture(i):
    """Bright below row 12 + i, dark above."""
    frame = np.full((*SIZE, 3), 20, np.uint8)
    frame[12 + i :] = 230
    return frame


def answers(i):
    """What a tiny engine answers for it: the person is segment 1, the car 2, the sky 3; and the objects' masks."""
    segment_map = np.where(picture(i)[..., 0] > 127, 3, 0).astype(np.int32)
    masks = []
    for segment, (box, _) in enumerate(THINGS, start=1):
        crop = paste_mask(np.ones((28, 28), np.float32), np.array(box, np.float32), *SIZE, rule="torchvision")
        masks.append(crop.on_canvas(*SIZE))
        segment_map[masks[-1]] = segment
    return segment_map, masks


@pytest.fixture
def folder(tmp_path):
    """Three pictures with all kinds of ground truth; it is just what the tiny engines answer."""
    root = tmp_path / "data"
    for name in ("images", "panoptic", "semantic"):
        (root / name).mkdir(parents=True)
    images, maps, objects = [], [], []
    for i in range(3):
        cv2.imwrite(str(root / "images" / f"p{i}.png"), picture(i))
        ids, masks = answers(i)
        cv2.imwrite(str(root / "panoptic" / f"p{i}.png"), np.dstack([ids * 0, ids * 0, ids]).astype(np.uint8))
        cv2.imwrite(str(root / "semantic" / f"p{i}.png"), (picture(i)[..., 0] > 127).astype(np.uint8))
        images.append({"id": i, "file_name": f"p{i}.png", "height": SIZE[0], "width": SIZE[1]})
        segments = [
            {"id": int(k), "category_id": (11, 12, 13)[k - 1], "iscrowd": 0, "area": int((ids == k).sum())}
            for k in np.unique(ids[ids > 0])
        ]
        maps.append({"image_id": i, "file_name": f"p{i}.png", "segments_info": segments})
        for (box, label), mask in zip(THINGS, masks, strict=True):
            x0, y0, x1, y1 = box
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": i,
                    "category_id": CATEGORY_OF[label],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": encode_rle(mask, *SIZE),
                }
            )
    write(root / "panoptic.json", {"images": images, "annotations": maps, "categories": CATEGORIES})
    write(root / "instances.json", {"images": images, "annotations": objects, "categories": CATEGORIES[:2]})
    write(root / "classes.json", ["Dark", "bright"])
    return root


def write(path, document):
    path.write_text(json.dumps(document), encoding="utf-8")


def change(path, edit):
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    write(path, document)


def evaluate(engine, folder, **options):
    with segopt.load(engine, device="cpu") as segmenter:
        return evaluate_engine(segmenter, open_data(folder), **options)


def totals(evaluation, measure):
    return next(scores for scores in evaluation.scores if scores.measure == measure).totals


def test_an_engine_that_is_right_scores_1_in_every_view(folder, panoptic_engine):
    evaluation = evaluate(panoptic_engine, folder)
    assert [scores.measure for scores in evaluation.scores] == ["panoptic", "semantic", "boxes", "masks"]
    assert totals(evaluation, "panoptic")["all"] == {"PQ": 1, "SQ": 1, "RQ": 1}
    assert totals(evaluation, "semantic")["all"] == {"mIoU": 1, "pixel accuracy": 1}
    # The third detection, whose score is 0.3, is false but comes last.
    for measure in ("boxes", "masks"):
        assert totals(evaluation, measure)["all"]["AP"] == pytest.approx(1)
    assert evaluation.remarks == []
    assert {scores.pictures for scores in evaluation.scores} == {3}


def test_batches_and_the_last_short_one(folder, tmp_path):
    engine = tiny.panoptic_engine(tmp_path / "two.onnx", batch=2)
    told = []
    evaluation = evaluate(engine, folder, progress=lambda done, count: told.append((done, count)))
    assert totals(evaluation, "panoptic")["all"]["PQ"] == 1
    assert told == [(2, 3), (3, 3)]


def test_one_mode_and_a_limit(folder, panoptic_engine):
    evaluation = evaluate(panoptic_engine, folder, modes=["semantic"], limit=2)
    assert [scores.measure for scores in evaluation.scores] == ["semantic"]
    assert evaluation.scores[0].pictures == 2
    assert any("first 2 of 3" in note for note in evaluation.notes)


def test_panoptic_truth_gives_semantic_truth_where_there_is_no_other(folder, semantic_engine):
    shutil.rmtree(folder / "semantic")
    change(folder / "panoptic.json", lambda d: d["categories"][2].update(name="bright"))
    evaluation = evaluate(semantic_engine, folder)
    # Person and car are classes that the engine does not know, and the sky is all right or void.
    assert totals(evaluation, "semantic")["classes known to both"]["pixel accuracy"] == 1
    assert totals(evaluation, "semantic")["all"]["mIoU"] < 0.4
    assert evaluation.notes[0].endswith("ground truth alone has count as missed: Person, car")


def test_voc_folder_with_palette_maps_void_and_no_class_names(folder, tmp_path, semantic_engine):
    root = tmp_path / "voc"
    (root / "SegmentationClass").mkdir(parents=True)
    shutil.copytree(folder / "images", root / "JPEGImages")
    indices = (picture(0)[..., 0] > 127).astype(np.uint8)
    indices[:, :10] = 255
    indices[:24, 30:] = 0
    paletted = Image.fromarray(indices)
    paletted.putpalette([3, 2, 1] * 256)
    paletted.save(root / "SegmentationClass" / "p0.png")
    evaluation = evaluate(semantic_engine, root)
    expected = ((indices == (picture(0)[..., 0] > 127)) | (indices == 255)).sum() - (indices == 255).sum()
    accuracy = totals(evaluation, "semantic")["all"]["pixel accuracy"]
    assert accuracy == pytest.approx(expected / (indices != 255).sum())
    assert evaluation.scores[0].pictures == 1
    assert any("classes.json" in note for note in evaluation.notes)
    assert any("2 left out of semantic: it has no annotation (p1, p2)" in remark for remark in evaluation.remarks)


def test_a_void_class_by_name_is_not_looked_at(folder, semantic_engine):
    write(folder / "classes.json", ["dark", "bright", "Unlabeled"])
    indices = np.full(SIZE, 2, np.uint8)
    indices[40:] = 1
    cv2.imwrite(str(folder / "semantic" / "p0.png"), indices)
    evaluation = evaluate(semantic_engine, folder)
    assert totals(evaluation, "semantic")["all"] == {"mIoU": 1, "pixel accuracy": 1}
    assert list(evaluation.scores[0].classes) == ["dark", "bright"]


def test_unknown_classes_of_the_engine_count_as_no_answer(folder, panoptic_engine):
    def drop_car(document):
        document["categories"] = [c for c in document["categories"] if c["name"] != "car"]
        for annotation in document["annotations"]:
            if "segments_info" in annotation:
                annotation["segments_info"] = [s for s in annotation["segments_info"] if s["category_id"] != 12]
        if "segments_info" not in document["annotations"][0]:
            document["annotations"] = [a for a in document["annotations"] if a["category_id"] != 12]

    for name in ("panoptic.json", "instances.json"):
        change(folder / name, drop_car)
    evaluation = evaluate(panoptic_engine, folder)
    assert totals(evaluation, "panoptic")["all"]["PQ"] == 1
    assert totals(evaluation, "masks")["all"]["AP"] == pytest.approx(1)
    assert evaluation.notes[0] == "panoptic: classes that the engine alone has count as no answer: car"


def test_lists_without_a_common_class_are_refused_by_name(folder, panoptic_engine):
    change(folder / "panoptic.json", lambda d: [c.update(name=f"x{c['id']}") for c in d["categories"]])
    with pytest.raises(EvaluationError, match=r"ground truth has x11, x12, x13; the engine has person, car, sky"):
        evaluate(panoptic_engine, folder)


def test_a_view_that_nobody_asked_for_and_does_not_match_is_left_out(folder, panoptic_engine):
    write(folder / "classes.json", ["a", "b"])
    evaluation = evaluate(panoptic_engine, folder)
    assert [scores.measure for scores in evaluation.scores] == ["panoptic", "boxes", "masks"]
    assert any(note.startswith("semantic is left out") for note in evaluation.notes)
    with pytest.raises(EvaluationError, match="not one of its classes"):
        evaluate(panoptic_engine, folder, modes=["semantic"])


def test_pictures_and_annotations_that_are_missing_are_reported(folder, panoptic_engine):
    (folder / "images" / "p0.png").unlink()
    cv2.imwrite(str(folder / "images" / "p7.png"), picture(0))
    evaluation = evaluate(panoptic_engine, folder)
    assert {scores.pictures for scores in evaluation.scores} == {2}
    assert totals(evaluation, "panoptic")["all"]["PQ"] == 1
    assert evaluation.remarks == [
        "1 left out of panoptic, semantic, instance: no such picture (p0)",
        "1 left out of panoptic, semantic, instance: it has no annotation (p7)",
    ]


def bad_category(document):
    document["annotations"][1]["segments_info"][0]["category_id"] = 99


@pytest.mark.parametrize(
    ("break_it", "reason", "measures"),
    [
        (lambda f: cut(f / "panoptic" / "p1.png"), "annotation PNG is damaged", {"panoptic"}),
        (lambda f: cut(f / "semantic" / "p1.png"), "annotation PNG is damaged", {"semantic"}),
        (lambda f: cut(f / "images" / "p1.png"), "picture is damaged", {"panoptic", "semantic", "instance"}),
        (lambda f: (f / "panoptic" / "p1.png").unlink(), "PNG is missing", {"panoptic"}),
        (lambda f: change(f / "panoptic.json", bad_category), "has category 99", {"panoptic"}),
        (lambda f: (f / "semantic" / "p1.png").write_bytes(b""), "PNG is damaged", {"semantic"}),
        (lambda f: recolor(f / "semantic" / "p1.png", 2), "index 2, which no class has", {"semantic"}),
        (lambda f: crop(f / "panoptic" / "p1.png"), r"differ in size \(32x24 and 64x48\)", {"panoptic"}),
        (lambda f: shutil.copy(f / "images/p1.png", f / "semantic/p1.png"), "no gray or palette", {"semantic"}),
        (lambda f: shutil.copy(f / "semantic/p1.png", f / "panoptic/p1.png"), "not in color", {"panoptic"}),
    ],
)
def test_a_bad_file_leaves_one_picture_out(folder, panoptic_engine, break_it, reason, measures):
    break_it(folder)
    evaluation = evaluate(panoptic_engine, folder)
    assert {entry.measure for entry in evaluation.left_out} == measures
    assert {entry.picture for entry in evaluation.left_out} == {"p1"}
    assert all(re.search(reason, entry.reason) for entry in evaluation.left_out)
    counts = {scores.measure: scores.pictures for scores in evaluation.scores}
    assert counts["panoptic"] == (2 if "panoptic" in measures else 3)
    assert counts["semantic"] == (2 if "semantic" in measures else 3)
    assert totals(evaluation, "panoptic")["all"]["PQ"] == 1


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def recolor(path, index):
    plane = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    plane[0, 0] = index
    cv2.imwrite(str(path), plane)


def crop(path):
    cv2.imwrite(str(path), cv2.imread(str(path))[:24, :32])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: shutil.rmtree(f), "no such folder"),
        (lambda f: [shutil.rmtree(f), f.mkdir()], "has no ground truth"),
        (lambda f: shutil.rmtree(f / "images"), "panoptic: no picture can be evaluated; 3 left out of panoptic"),
        (lambda f: cut(f / "panoptic.json"), "is no JSON, or cut short"),
        (lambda f: shutil.rmtree(f / "panoptic"), "no such folder; panoptic.json wants its PNGs there"),
        (lambda f: change(f / "panoptic.json", lambda d: d["categories"][0].pop("id")), "it lacks 'id'"),
        (lambda f: change(f / "instances.json", lambda d: d["images"][0].pop("height")), "it lacks 'height'"),
        (lambda f: write(f / "classes.json", {"classes": 3}), "must be a list of class names"),
        (lambda f: shutil.copy(f / "instances.json", f / "instances_b.json"), "two files of instances"),
        (lambda f: change(f / "panoptic.json", lambda d: d["categories"][1].update(name="person")), "two classes"),
    ],
)
def test_bad_data_is_one_clear_line(folder, panoptic_engine, segopt_cli, break_it, message):
    break_it(folder)
    status, _, err = segopt_cli("eval", "--engine", panoptic_engine, "--data", folder)
    assert status == 1
    assert message in err
    assert err.count("\n") == 1


def test_what_segopt_run_wrote_is_evaluated_as_it_is(folder, panoptic_engine, tmp_path, segopt_cli):
    with open_source(str(folder / "images")) as source, segopt.load(panoptic_engine) as segmenter:
        sinks = make_sinks(("panoptic",), tmp_path / "out", source, "panoptic")
        run_pipeline(source, segmenter, sinks)
    evaluation = evaluate_predictions(tmp_path / "out", open_data(folder))
    assert totals(evaluation, "panoptic")["all"]["PQ"] == 1
    status, out, _ = segopt_cli("eval", "--predictions", tmp_path / "out", "--data", folder)
    assert status == 0
    assert "panoptic: 3 pictures" in out


def test_predictions_of_another_kind_or_that_contradict_themselves(folder, tmp_path):
    found = tmp_path / "found"
    found.mkdir()
    data = open_data(folder)
    with pytest.raises(EvaluationError, match="no such file"):
        evaluate_predictions(found, data)
    shutil.copytree(folder / "panoptic", found / "panoptic")
    shutil.copy(folder / "panoptic.json", found)
    change(found / "panoptic.json", lambda d: d["annotations"][0]["segments_info"].pop())
    change(found / "panoptic.json", lambda d: d["annotations"].pop())
    evaluation = evaluate_predictions(found, data)
    assert evaluation.scores[0].pictures == 1
    assert sorted(entry.reason for entry in evaluation.left_out) == [
        "its predicted PNG and json do not list the same segments",
        "no prediction",
    ]


def test_frames_of_a_video_are_found_by_image_id(folder, tmp_path):
    found = tmp_path / "found"
    shutil.copytree(folder / "panoptic", found / "panoptic")
    shutil.copy(folder / "panoptic.json", found)
    change(found / "panoptic.json", lambda d: [i.update(file_name=f"video-{i['id']}.jpg") for i in d["images"]])
    evaluation = evaluate_predictions(found, open_data(folder))
    assert totals(evaluation, "panoptic")["all"]["PQ"] == 1
    assert evaluation.notes == ("predictions and ground truth share no picture's name: paired by image id",)


def test_objects_without_masks_have_boxes_alone(folder, tmp_path):
    change(folder / "instances.json", lambda d: d["annotations"][0].pop("segmentation"))
    evaluation = evaluate(tiny.instance_engine(tmp_path / "i.onnx"), folder)
    assert [scores.measure for scores in evaluation.scores] == ["boxes"]
    assert any("boxes alone" in note for note in evaluation.notes)


def test_the_command_shows_tables_and_writes_json(folder, panoptic_engine, segopt_cli, tmp_path):
    file = tmp_path / "new" / "figures.json"
    status, out, err = segopt_cli("eval", "--engine", panoptic_engine, "--data", folder, "--json", file)
    assert (status, err) == (0, "")
    for text in ("panoptic: 3 pictures, in percent", "boxes:", "masks:", "mIoU", "PQ", "100.00", "Person", "sky"):
        assert text in out
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["scores"]["panoptic"]["totals"]["all"]["PQ"] == 1
    assert document["scores"]["panoptic"]["classes"]["sky"]["SQ"] == 1
    assert document["left_out"] == []


def test_another_model_is_compared_with(folder, panoptic_engine, segopt_cli, tmp_path):
    """The other one misses the car: its PQ is lower, and the difference says by how much."""
    blind, file = tmp_path / "blind.onnx", tmp_path / "figures.json"
    tiny.panoptic_engine(blind, detections=tiny.DETECTIONS[:1])
    status, out, err = segopt_cli(
        "eval", "--engine", blind, "--data", folder, "--against", panoptic_engine, "--json", file
    )
    assert (status, err) == (0, "")
    assert panoptic_engine.name in out
    document = json.loads(file.read_text(encoding="utf-8"))
    own, other = document["scores"], document["against"][str(panoptic_engine)]
    assert other["panoptic"]["totals"]["all"]["PQ"] == 1
    apart = document["difference"]["panoptic"]["totals"]["all"]["PQ"]
    assert apart == own["panoptic"]["totals"]["all"]["PQ"] - 1 < 0


def test_models_of_other_classes_are_not_compared(folder, panoptic_engine, semantic_engine, segopt_cli):
    status, _, err = segopt_cli(
        "eval", "--engine", panoptic_engine, "--data", folder, "--against", semantic_engine
    )
    assert status == 2
    assert "has other classes" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of --engine FILE and --predictions DIR"),
        (("--engine", "a.onnx", "--predictions", "b"), "one of --engine FILE and --predictions DIR"),
        (("--predictions", "b", "--against", "torch"), "leave --against out"),
        (("--predictions", "b", "--stuff-area", "9"), "leave --stuff-area out"),
        (("--engine", "a.onnx", "--weights", "w.pth"), "add it, or leave them out"),
    ],
)
def test_options_that_do_not_go_together(folder, segopt_cli, arguments, message):
    status, _, err = segopt_cli("eval", "--data", folder, *arguments)
    assert status == 2
    assert message in err


def test_without_pycocotools_it_says_what_to_install(folder, panoptic_engine, segopt_cli, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pycocotools" else find(name))
    status, _, err = segopt_cli("eval", "--engine", panoptic_engine, "--data", folder)
    assert status != 0
    assert "pip install 'segopt[bench]'" in err
