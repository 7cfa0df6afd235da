"""segopt.stream gives a source's results one after the other, and holds one frame at a time."""

import gc
import threading
import time
import weakref
from fractions import Fraction

import numpy as np
import pytest

import clips
import segopt
import tiny
from segopt.errors import SourceBrokenError, SourceError, UsageError
from segopt.sources import Source, SourceFrame


@pytest.fixture
def segmenter(tmp_path):
    with segopt.load(tiny.panoptic_engine(tmp_path / "e.onnx", batch=2)) as loaded:
        yield loaded


class Camera(Source):
    """A live source of frames whose pixels are their number, one every ``pause`` seconds."""

    kind = "video"
    name = "camera"
    live = True

    def __init__(self, count, pause=0.01, error=None):
        super().__init__()
        self.count, self.pause, self.error = count, pause, error
        self.closed = 0

    def _frames(self):
        for i in range(self.count):
            time.sleep(self.pause)
            yield SourceFrame(i, np.full((48, 64, 3), i, np.uint8), f"{i}", f"{i}.jpg", Fraction(i, 100))
        if self.error:
            raise self.error

    def _close(self):
        self.closed += 1


def test_a_video_gives_its_frames_with_times_and_results(tmp_path, segmenter):
    path = clips.clip(tmp_path / "drive.mp4", 7)
    items = list(segopt.stream(segmenter, path))
    assert [clips.number_of(item.frame) for item in items] == [item.index for item in items] == list(range(7))
    assert [item.time for item in items] == [Fraction(2 * i, 25) for i in range(7)]
    assert [item.name for item in items] == [f"drive-{i:06d}" for i in range(7)]
    for item in items:
        assert item.frame.dtype == np.uint8
        assert item.result == segmenter(item.frame)
        np.testing.assert_array_equal(item.overlay, item.result.draw(item.frame))
        assert item.overlay is item.overlay


def test_stride_and_limit_choose_frames(tmp_path, segmenter):
    path = clips.clip(tmp_path / "drive.mp4", 10)
    assert [item.index for item in segopt.stream(segmenter, path, stride=3)] == [0, 3, 6, 9]
    assert [item.index for item in segopt.stream(segmenter, str(path), stride=2, max_frames=3)] == [0, 2, 4]
    frames = [clips.frame(i) for i in range(10)]
    items = list(segopt.stream(segmenter, frames, stride=3, max_frames=3))
    assert [(item.index, clips.number_of(item.frame)) for item in items] == [(0, 0), (3, 3), (6, 6)]


def test_pictures_have_names_and_no_time(tmp_path, segmenter):
    folder = clips.pictures(tmp_path / "in", ["a.png", "b.png"])
    assert [(item.name, item.time) for item in segopt.stream(segmenter, folder)] == [("a", None), ("b", None)]
    (item,) = segopt.stream(segmenter, folder / "b.png")
    np.testing.assert_array_equal(item.frame, clips.frame(1))


@pytest.mark.parametrize("form", [list, iter, np.stack])
def test_frames_of_ones_own_are_a_source(segmenter, form):
    frames = [clips.frame(i) for i in range(4)]
    items = list(segopt.stream(segmenter, form(frames)))
    assert [clips.number_of(item.frame) for item in items] == [0, 1, 2, 3]
    assert [item.name for item in items] == [f"frames-{i:06d}" for i in range(4)]


def test_a_list_of_paths_is_a_source(tmp_path, segmenter):
    folder = clips.pictures(tmp_path / "in", ["a.png", "b.png"])
    items = list(segopt.stream(segmenter, sorted(folder.iterdir())))
    assert [clips.number_of(item.frame) for item in items] == [0, 1]


def test_one_frame_is_held_at_a_time(segmenter):
    alive = weakref.WeakSet()
    most = 0

    class Tracked(np.ndarray):
        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def frames():
        nonlocal most
        for i in range(50):
            frame = clips.frame(i).view(Tracked)
            alive.add(frame)
            gc.collect()
            most = max(most, len(alive))
            yield frame

    gc.freeze()  # What other tests left need not be looked through fifty times.
    try:
        assert sum(1 for _ in segopt.stream(segmenter, frames())) == 50
    finally:
        gc.unfreeze()
    # The one that is made, and the last that the loop still holds.
    assert most <= 2


def test_frames_are_taken_as_they_are_asked_for(segmenter):
    taken = []

    def frames():
        for i in range(5):
            taken.append(i)
            yield clips.frame(i)

    items = segopt.stream(segmenter, frames(), max_frames=2)
    assert taken == []
    next(items)
    assert taken == [0]
    next(items)
    assert list(items) == []
    assert taken == [0, 1]


def test_the_source_is_closed_when_the_block_is_left_or_the_frames_end():
    class Steps(segopt.Segmenter):
        def __init__(self):
            pass

        def __call__(self, frame):
            return int(frame[0, 0, 0])

    for leave in ("block", "close", "end", "error"):
        camera = Camera(3, error=SourceBrokenError("camera: unplugged") if leave == "error" else None)
        items = segopt.stream(Steps(), camera)
        if leave == "block":
            with items:
                next(items)
        elif leave == "close":
            next(items)
            items.close()
            items.close()
        elif leave == "end":
            list(items)
        else:
            with pytest.raises(SourceBrokenError, match="unplugged"):
                list(items)
        assert camera.closed == 1
        assert list(items) == []


def test_a_stream_that_was_never_begun_lets_go_of_its_source():
    camera = Camera(3)
    segopt.stream(segopt.Segmenter.__new__(segopt.Segmenter), camera).close()
    assert camera.closed == 1


def test_of_a_live_source_the_latest_frame_is_next(segmenter):
    with segopt.stream(segmenter, Camera(60, pause=0.005)) as items:
        indices = []
        for item in items:
            indices.append(item.index)
            assert item.frame[0, 0, 0] == item.index
            time.sleep(0.05)
    assert indices == sorted(set(indices))
    assert indices[-1] == 59
    # 60 frames in 0.3 s, each held for 0.05 s.
    assert len(indices) < 30


def test_a_live_source_that_is_left_lets_its_thread_end(segmenter):
    with segopt.stream(segmenter, Camera(10_000, pause=0.001)) as items:
        next(items)
    deadline = time.monotonic() + 5
    while any(thread.name == "segopt-read" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_source_that_breaks_off_gives_its_good_frames_first(tmp_path, segmenter):
    folder = clips.pictures(tmp_path / "in", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes(b"no picture")
    items = segopt.stream(segmenter, folder)
    assert [next(items).name, next(items).name] == ["1", "3"]
    with pytest.raises(SourceBrokenError, match=r"2\.png"):
        next(items)


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        ("nowhere.mp4", {}, SourceError, "nowhere.mp4: does not exist"),
        (99, {}, SourceError, "camera 99"),
        ("a.png", {"stride": 0}, UsageError, "--stride 0"),
        ([], {"max_frames": 0}, UsageError, "--max-frames 0"),
        (None, {}, ValueError, "NoneType"),
        (object(), {}, ValueError, "object"),
    ],
)
def test_what_is_no_source_is_refused_at_once(segmenter, source, options, error, words):
    with pytest.raises(error, match=words) as caught:
        segopt.stream(segmenter, source, **options)
    assert "\n" not in str(caught.value)


def test_a_bad_frame_among_good_ones_is_refused_when_its_turn_comes(segmenter):
    items = segopt.stream(segmenter, [clips.frame(0), None])
    next(items)
    with pytest.raises(ValueError, match="NoneType"):
        next(items)


def test_a_path_is_no_segmenter():
    with pytest.raises(UsageError, match=r"segopt\.load\(path\)"):
        segopt.stream("model.onnx", "street.mp4")
