import os

import cv2
import pytest

import clips
import segopt
from segopt.errors import SinkError
from segopt.files.lock import LOCK_NAME
from segopt.pipeline.run import run_pipeline
from segopt.sinks.claim import claimed
from segopt.sinks.json_list import JsonStream
from segopt.sinks.making import make_sinks
from segopt.sources import open_source

SAVES = ("overlay", "panoptic", "coco")


def run(engine, spec, output, *, saves=SAVES, overwrite=False):
    with (
        open_source(str(spec)) as source,
        claimed(saves, output, source, overwrite=overwrite),
        segopt.load(engine) as segmenter,
    ):
        run_pipeline(source, segmenter, make_sinks(saves, output, source, segmenter.mode, overwrite=overwrite))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("there", ["a-overlay.mp4", "panoptic.json", "panoptic/x.png", "coco.json"])
def test_what_is_there_is_named_and_left_alone(tmp_path, panoptic_engine, there):
    video = clips.clip(tmp_path / "a.mp4", 3)
    path = tmp_path / "out" / there
    path.parent.mkdir(parents=True)
    path.write_bytes(b"own")
    before = contents(tmp_path)
    with pytest.raises(SinkError, match=f"{there}: exists already.*--overwrite"):
        run(panoptic_engine, video, tmp_path / "out")
    assert contents(tmp_path) == before


def test_a_second_run_is_refused_and_overwrites_on_request(tmp_path, panoptic_engine):
    video = clips.clip(tmp_path / "a.mp4", 3)
    run(panoptic_engine, video, tmp_path / "out")
    before = contents(tmp_path)
    with pytest.raises(SinkError, match="exists already"):
        run(panoptic_engine, video, tmp_path / "out")
    assert contents(tmp_path) == before
    run(panoptic_engine, video, tmp_path / "out", overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("source", "save"),
    [("out/panoptic", "panoptic"), ("out/overlay", "overlay"), ("out/overlay/a.jpg", "overlay")],
)
def test_a_source_is_never_replaced(tmp_path, panoptic_engine, source, save, overwrite):
    path = tmp_path / source
    folder = path if path.suffix == "" else path.parent
    clips.pictures(folder, ["a.jpg", "b.png"])
    output = tmp_path / "out"
    if path.suffix:
        # The one picture that its own overlay would be named after, through a link.
        (output / "a-overlay.jpg").symlink_to(path)
    before = contents(tmp_path)
    with pytest.raises(SinkError, match="the source, and would be replaced"):
        run(panoptic_engine, path, output, saves=[save], overwrite=overwrite)
    assert contents(tmp_path) == before


def test_a_file_that_appears_during_the_run_is_not_overwritten(tmp_path, semantic_engine):
    folder = clips.pictures(tmp_path / "in", ["a.jpg", "b.jpg"])
    output = tmp_path / "out"
    with open_source(str(folder)) as source, segopt.load(semantic_engine) as segmenter:
        sinks = make_sinks(["overlay"], output, source, segmenter.mode)
        (output / "overlay" / "b.jpg").write_bytes(b"own")
        with pytest.raises(SinkError, match=r"b\.jpg: exists already"):
            run_pipeline(source, segmenter, sinks)
    assert (output / "overlay" / "b.jpg").read_bytes() == b"own"
    assert cv2.imread(str(output / "overlay" / "a.jpg")) is not None


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    video = clips.clip(tmp_path / "a.mp4", 3)
    with open_source(str(video)) as source, claimed(SAVES, tmp_path / "x" / "y", source):
        assert (tmp_path / "x" / "y" / LOCK_NAME).exists()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_next_run_completes_what_a_dead_one_left(tmp_path, panoptic_engine, overwrite):
    video = clips.clip(tmp_path / "a.mp4", 3)
    output = tmp_path / "out"
    output.mkdir()
    dead = JsonStream(output / "coco.json")
    dead.extend([{"dead": True}])
    # What a process holds is let go at its end.
    dead._file._open = False
    os.close(dead._file._descriptor)
    if overwrite:
        run(panoptic_engine, video, output, overwrite=True)
        assert (output / "coco-2.json").read_text() == '[\n{"dead":true}\n]\n'
        assert "dead" not in (output / "coco.json").read_text()
    else:
        with pytest.raises(SinkError, match=r"coco\.json: exists already"):
            run(panoptic_engine, video, output)
        assert (output / "coco.json").read_text() == '[\n{"dead":true}\n]\n'
    assert [path for path in output.iterdir() if path.name.startswith(".")] == []
