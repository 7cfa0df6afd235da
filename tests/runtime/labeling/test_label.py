"""A job, done by workers of this process: shards, resuming, what fails, and the merged answer."""

import errno
import filecmp
import hashlib
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import clips
import segopt
import tiny
from segopt.errors import EngineError, SinkError, SourceError, UsageError
from segopt.labeling import shards
from segopt.labeling.run import Request, in_this_process, label


@pytest.fixture
def request_(tmp_path):
    engine = tiny.panoptic_engine(tmp_path / "engine.onnx")
    for folder, frames in (("a", 3), ("b", 4)):
        (tmp_path / "lake" / folder).mkdir(parents=True)
        clips.clip(tmp_path / "lake" / folder / "drive.1.mp4", frames)
    clips.pictures(tmp_path / "lake" / "in", ["IMG.2024.01.png", "IMG.2024.02.png", "x.png"])
    return Request(engine, [str(tmp_path / "lake")], tmp_path / "out", device="cpu", pictures=2)


def read(path):
    return json.loads(path.read_text())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def hidden(folder):
    return list(folder.rglob(".*"))


def counting(limit=None):
    """An executor that remembers which units it did, and dies after ``limit`` of them."""
    names = []

    def execute(settings, units):
        for report in in_this_process(settings, units):
            names.append(report.unit)
            yield report
            if len(names) == limit:
                raise KeyboardInterrupt

    return execute, names


def same_tree(one, other):
    comparison = filecmp.dircmp(one, other)
    assert comparison.left_only == comparison.right_only == []
    _, differ, errors = filecmp.cmpfiles(one, other, comparison.common_files, shallow=False)
    assert differ == errors == []
    for name in comparison.common_dirs:
        same_tree(one / name, other / name)


def test_shards_are_byte_for_byte_what_a_run_writes(request_, tmp_path):
    outcome = label(request_, in_this_process)
    assert outcome.progress.done == 4
    assert outcome.images == 10
    assert not outcome.failed
    for unit, source in (("drive.1", "a/drive.1.mp4"), ("drive.1-2", "b/drive.1.mp4"), ("in-2", "in/x.png")):
        segopt.run(request_.engine, tmp_path / "lake" / source, save="panoptic", output=tmp_path / "ref" / unit)
        same_tree(tmp_path / "ref" / unit, request_.output / "panoptic" / unit)
    assert sorted(path.name for path in request_.output.iterdir()) == ["job.json", "panoptic", "panoptic.json"]
    assert hidden(request_.output) == []


def test_the_merged_answer_has_unique_ids_and_names_and_all_that_the_shards_have(request_):
    label(request_, in_this_process)
    document = read(request_.output / "panoptic.json")
    assert [image["id"] for image in document["images"]] == list(range(1, 11))
    stems = [image["file_name"].rpartition(".")[0] for image in document["images"]]
    assert len(set(stems)) == 10
    assert stems[3] == "drive.1-2-drive.1-000000"
    assert [image.get("video_id") for image in document["images"]] == [1] * 3 + [2] * 4 + [None] * 3
    for annotation in document["annotations"]:
        png = cv2.imread(str(request_.output / "panoptic" / annotation["file_name"]))
        ids = png.astype(int) @ [65536, 256, 1]
        assert {info["id"]: info["area"] for info in annotation["segments_info"]} == {
            int(i): int((ids == i).sum()) for i in np.unique(ids) if i
        }


def test_pictures_that_are_named_by_their_ids_keep_them(request_, tmp_path):
    clips.pictures(tmp_path / "coco", ["000139.png", "000285.png", "000632.png"])
    label(replace(request_, sources=[str(tmp_path / "coco")]), in_this_process)
    images = read(request_.output / "panoptic.json")["images"]
    assert [(image["id"], image["file_name"]) for image in images] == [
        (139, "000139.png"),
        (285, "000285.png"),
        (632, "000632.png"),
    ]


def test_the_merged_answer_is_what_segopt_eval_reads(request_, segopt_cli):
    pytest.importorskip("pycocotools")
    label(request_, in_this_process)
    status, out, err = segopt_cli(
        "eval", "--predictions", request_.output, "--data", request_.output / "panoptic.json"
    )
    assert status == 0, err
    assert "10 pictures" in out
    assert "100.00" in out


def test_what_was_done_is_skipped_and_the_rest_is_done_once(request_):
    execute, first = counting(limit=2)
    with pytest.raises(KeyboardInterrupt):
        label(request_, execute)
    before = {path: path.stat().st_mtime_ns for path in request_.output.rglob("*.png")}
    execute, second = counting()
    outcome = label(request_, execute)
    assert (len(first), len(second)) == (2, 2)
    assert not set(first) & set(second)
    assert outcome.progress.before == 2
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    whole = (request_.output / "panoptic.json").read_bytes()
    execute, third = counting()
    label(request_, execute)
    assert third == []
    label(replace(request_, output=request_.output.with_name("other")), in_this_process)
    assert (request_.output.with_name("other") / "panoptic.json").read_bytes() == whole


def test_a_job_says_what_it_was_begun_with_and_what_is_other_now(request_):
    label(request_, in_this_process)
    job = read(request_.output / "job.json")
    assert job["engine"]["sha256"] == hashlib.sha256(request_.engine.read_bytes()).hexdigest()
    assert job["versions"]["segopt"] == segopt.__version__
    assert "onnxruntime" in job["versions"]
    job["versions"]["numpy"] = "0.1"
    (request_.output / "job.json").write_text(json.dumps(job))
    (note,) = label(request_, in_this_process).notes
    assert note.startswith("this job was begun with numpy 0.1, and goes on with ")


def test_new_sources_are_added(request_, tmp_path):
    label(request_, in_this_process)
    clips.clip(tmp_path / "lake" / "a" / "before.mp4", 2)
    execute, names = counting()
    outcome = label(request_, execute)
    assert names == ["before"]
    assert outcome.images == 12
    assert [unit["name"] for unit in read(request_.output / "job.json")["units"]][-1] == "before"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limits": {"score_threshold": 0.9}}, "whose score threshold is 0.5 and not 0.9"),
        ({"limits": {"stuff_area": 7}}, "whose stuff area is 64 and not 7"),
        ({"track": True}, "whose tracking is off and not on"),
        ({"format": "webdataset"}, "whose format is coco and not webdataset"),
    ],
)
def test_an_output_of_another_job_is_refused(request_, change, words):
    label(request_, in_this_process)
    before = (request_.output / "job.json").read_bytes()
    with pytest.raises(SinkError, match=f"belongs to another job, {words}"):
        label(replace(request_, **change), in_this_process)
    assert (request_.output / "job.json").read_bytes() == before


def test_another_engine_is_refused_and_the_same_elsewhere_is_not(request_, tmp_path):
    label(request_, in_this_process)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(request_.engine.read_bytes())
    assert label(replace(request_, engine=copy), in_this_process).progress.before == 4
    other = tiny.panoptic_engine(tmp_path / "other.onnx", slots=5)
    with pytest.raises(SinkError, match="belongs to another job, whose engine is"):
        label(replace(request_, engine=other), in_this_process)


def test_a_folder_of_something_else_is_refused(request_):
    clips.pictures(request_.output, ["mine.png"])
    with pytest.raises(SinkError, match=r"has files in it and no job\.json"):
        label(request_, in_this_process)
    (request_.output / "job.json").write_text("{")
    with pytest.raises(SinkError, match=r"job\.json: is damaged"):
        label(request_, in_this_process)


def test_a_video_that_breaks_off_keeps_its_frames_and_is_named_every_time(request_, tmp_path):
    path = clips.clip(tmp_path / "lake" / "b" / "broken.mp4", 40, noise=True, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    for _ in range(2):
        outcome = label(request_, in_this_process)
        (entry,) = outcome.failed
        assert entry["unit"] == "broken"
        assert 0 < entry["frames"] < 40
        assert lines(request_.output / "failed.jsonl") == [entry]
        assert outcome.images == 10 + entry["frames"]
    assert outcome.progress.before == 5


def test_what_cannot_be_read_fails_alone_and_is_tried_again(request_, tmp_path):
    bad = tmp_path / "lake" / "a" / "words.mp4"
    bad.write_text("words")
    outcome = label(request_, in_this_process)
    assert [entry["unit"] for entry in outcome.failed] == ["words"]
    assert outcome.images == 10
    assert hidden(request_.output) == []
    bad.unlink()
    assert "is not there any more" in label(request_, in_this_process).failed[0]["error"]
    clips.clip(bad, 2)
    outcome = label(request_, in_this_process)
    assert outcome.failed == ()
    assert outcome.images == 12
    assert not (request_.output / "failed.jsonl").exists()


def test_missing_entries_of_a_list_are_named_and_the_others_are_done(request_, tmp_path):
    (tmp_path / "list").write_text(f"{tmp_path}/lake/a\n{tmp_path}/lost.mp4\n")
    outcome = label(replace(request_, sources=[f"@{tmp_path}/list"]), in_this_process)
    assert outcome.images == 3
    (entry,) = lines(request_.output / "failed.jsonl")
    assert entry["unit"] is None
    assert "lost.mp4: does not exist" in entry["error"]


def test_a_unit_that_kills_its_workers_is_given_up(request_):
    label(request_, in_this_process)
    folder = request_.output / "panoptic"
    (folder / "in").rename(folder.with_name("kept"))
    for number in range(shards.MOST_ATTEMPTS):
        (folder / f".in.attempt-{number + 1}").mkdir()
    with pytest.raises(shards.PoisonError, match="its worker died 3 times over it"):
        shards.attempt_for(folder, "in")
    # The next run begins to count anew.
    folder.with_name("kept").rename(request_.output.with_name("kept"))
    assert label(request_, in_this_process).failed == ()
    assert hidden(request_.output) == []


def test_a_worker_that_comes_second_leaves_the_first_ones_shard(tmp_path):
    first, second = (shards.attempt_for(tmp_path, "u") for _ in range(2))
    assert [first.number, second.number] == [1, 2]
    (first.folder / "x").write_text("first")
    (second.folder / "x").write_text("second")
    assert shards.complete(second, second.folder, tmp_path / "u")
    late = shards.attempt_for(tmp_path, "u")
    assert not shards.complete(late, late.folder, tmp_path / "u")
    assert (tmp_path / "u" / "x").read_text() == "second"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "u"]


def test_tracked_objects_keep_their_numbers_in_each_unit(request_):
    label(replace(request_, track=True), in_this_process)
    annotations = read(request_.output / "panoptic.json")["annotations"]
    ids = [{info["id"] for info in annotation["segments_info"]} for annotation in annotations]
    assert {201, 202} < ids[0]
    assert {201, 202} < ids[2]


def test_samples_for_training_have_keys_that_no_reader_cuts(request_):
    outcome = label(replace(request_, format="webdataset"), in_this_process)
    assert outcome.images == 0
    folder = request_.output / "webdataset"
    assert sorted(path.name for path in folder.iterdir()) == ["drive.1-2.tar", "drive.1.tar", "in-2.tar", "in.tar"]
    samples = {}
    for path in sorted(folder.iterdir()):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                samples.setdefault(key, {})[ending] = tar.extractfile(member).read()
    assert len(samples) == 10
    assert "in/IMG_2024_01" in samples
    assert "in/IMG_2024_02" in samples
    for files in samples.values():
        assert sorted(files) == ["jpg", "json", "png"]
        annotation = json.loads(files["json"])["annotation"]
        png = cv2.imdecode(np.frombuffer(files["png"], np.uint8), cv2.IMREAD_COLOR)
        assert {info["id"] for info in annotation["segments_info"]} == set(np.unique(png[..., 2])) - {0}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    label(replace(request_, format="webdataset", output=request_.output.with_name("again")), in_this_process)
    again = request_.output.with_name("again") / "webdataset"
    assert {path.name: path.read_bytes() for path in again.iterdir()} == before


def test_webdataset_itself_reads_them(request_):
    webdataset = pytest.importorskip("webdataset")
    label(replace(request_, format="webdataset"), in_this_process)
    tars = sorted(str(path) for path in (request_.output / "webdataset").iterdir())
    samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
    assert len({sample["__key__"] for sample in samples}) == len(samples) == 10


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sources": ["nowhere"]}, SourceError, "nowhere: does not exist"),
        ({"mode": "instance"}, UsageError, "gives instance results"),
        ({"limits": {"score_threshold": 3}}, UsageError, "score_threshold is 3"),
        ({"device": "tensorrt"}, EngineError, "has no TensorRT provider"),
    ],
)
def test_what_cannot_begin_leaves_nothing(request_, change, error, words):
    with pytest.raises(error, match=words):
        label(replace(request_, **change), in_this_process)
    assert not request_.output.exists()


def test_a_full_disk_fails_units_and_what_is_done_stays(request_, monkeypatch):
    """The second shard finds no space, as on one worker of several."""
    plain = Path.rename

    def rename(path, target):
        if target.name == "drive.1-2":
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    outcome = label(request_, in_this_process)
    (entry,) = outcome.failed
    assert "No space left on device" in entry["error"]
    assert "free some space" in entry["error"]
    assert outcome.images == 6
    assert hidden(request_.output) == []
