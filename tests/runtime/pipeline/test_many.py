"""Several sources through one engine."""

import _thread
import json
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

import clips
import tiny
from segopt.errors import EngineError, SinkError, SourceBrokenError
from segopt.pipeline.many import Feed, run_many
from segopt.results import SemanticResult
from segopt.sinks.base import Sink
from segopt.sources import Source, SourceFrame
from segopt.stages import Stages


class Numbered(Source):
    """Frames with the source's mark and their own number; ``hangs_at`` waits for ever, ``fails_at`` breaks off."""

    kind = "video"

    def __init__(self, mark, count, *, pause=0.0, live=False, fails_at=None, hangs_at=None):
        super().__init__()
        self.name, self.mark, self.count, self.pause, self.live = f"source-{mark}", mark, count, pause, live
        self.fails_at, self.hangs_at, self.release = fails_at, hangs_at, threading.Event()

    def _frames(self):
        for i in range(self.count):
            if i == self.fails_at:
                raise SourceBrokenError("breaks off after {frames} frames", frames=99)
            if i == self.hangs_at:
                self.release.wait(30)
                return
            time.sleep(self.pause)
            image = np.full((4, 4, 3), i % 256, np.uint8)
            image[..., 1] = self.mark
            yield SourceFrame(i, image, f"{i}", f"{i}.jpg", Fraction(i, 25))


class Steps(Stages):
    batch = 4

    def __init__(self, *, pause=0.0, fails_after=None):
        self.pause, self.fails_after, self.batches = pause, fails_after, []

    def prepare(self, frames):
        assert 1 <= len(frames) <= self.batch
        return frames

    def infer(self, prepared):
        self.batches.append([int(frame[0, 0, 1]) for frame in prepared])
        if len(self.batches) == self.fails_after:
            raise EngineError("the network failed")
        time.sleep(self.pause)
        return prepared

    def decode(self, _prepared, outputs):
        return [frame[..., :2] for frame in outputs]

    def assemble(self, found):
        result = SemanticResult(found[..., 0].copy(), tiny.SEMANTIC_CATEGORIES)
        object.__setattr__(result, "mark", int(found[0, 0, 1]))
        return result


class Collect(Sink):
    label = "list"

    def __init__(self, mark, *, fails_at=None, pause=0.0):
        self.mark, self.fails_at, self.pause, self.items, self.closed = mark, fails_at, pause, [], 0

    def write(self, item):
        if item.index == self.fails_at:
            raise SinkError("list: is full")
        time.sleep(self.pause)
        assert item.result.mark == self.mark
        assert (item.result.classes == item.index % 256).all()
        self.items.append(item.index)

    def close(self):
        self.closed += 1


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    deadline = time.monotonic() + 3
    while any(thread.name.startswith("segopt-") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


def feed(mark, count, *, sink=None, **options):
    return Feed(Numbered(mark, count, **options), [sink or Collect(mark)])


def items(one):
    return one.sinks[0].items


@pytest.mark.parametrize("lengths", [(30, 30, 30, 30), (5, 40, 1, 12)])
def test_every_source_gets_all_its_frames_in_order_and_batches_are_shared(lengths):
    feeds, steps = [feed(i, n) for i, n in enumerate(lengths)], Steps(pause=0.002)
    assert run_many(feeds, steps, batch=4) is None
    assert [items(one) for one in feeds] == [list(range(n)) for n in lengths]
    assert [one.stats.frames for one in feeds] == list(lengths)
    assert all(one.error is None and one.sinks[0].closed == 1 for one in feeds)
    assert len(steps.batches) < 0.7 * sum(lengths)


def test_sources_get_equal_turns():
    feeds, steps = [feed(i, 200) for i in range(6)], Steps(pause=0.002)
    run_many(feeds, steps, batch=4)
    first = [mark for batch in steps.batches[:60] for mark in batch]
    counts = [first.count(mark) for mark in range(6)]
    assert max(counts) - min(counts) <= 12


@pytest.mark.parametrize("trouble", ["cut", "full", "hung", "slow to write"])
def test_trouble_of_one_source_is_its_own(trouble):
    bad = {
        "cut": lambda: feed(0, 50, fails_at=7),
        "full": lambda: feed(0, 5000, sink=Collect(0, fails_at=7)),
        "hung": lambda: feed(0, 50, hangs_at=7),
        "slow to write": lambda: feed(0, 7, sink=Collect(0, pause=0.1)),
    }[trouble]()
    feeds = [bad, *(feed(i, 40) for i in (1, 2, 3))]
    ends = []
    run_many(feeds, Steps(), batch=4, patience=0.5, on_progress=ends.append)
    assert [items(one) for one in feeds] == [list(range(7)), *[list(range(40))] * 3]
    assert [one.error is None for one in feeds] == [trouble == "slow to write", True, True, True]
    words = {"cut": "breaks off after 7 frames", "full": "is full", "hung": "source-0: gives no frame for 0 s"}
    assert words.get(trouble, "") in str(bad.error)
    if trouble == "slow to write":
        # The others were done long before.
        assert any(frames[1:] == [40] * 3 and frames[0] < 5 for frames in ends)
    bad.source.release.set()


def test_a_slow_camera_beside_fast_ones_loses_no_frame():
    feeds = [feed(0, 5, pause=0.2, live=True), *(feed(i, 60, pause=0.01, live=True) for i in (1, 2, 3))]
    run_many(feeds, Steps(pause=0.03), batch=4)
    assert items(feeds[0]) == list(range(5))
    for one in feeds[1:]:
        assert one.stats.dropped > 0
        assert one.stats.frames + one.stats.dropped == 60
        assert items(one)[-1] == 59
    counts = [one.stats.frames for one in feeds[1:]]
    assert max(counts) - min(counts) <= 4


def test_an_error_of_the_network_ends_all_and_keeps_what_was_done():
    feeds = [feed(i, 1000) for i in range(3)]
    with pytest.raises(EngineError, match="the network failed"):
        run_many(feeds, Steps(fails_after=20), batch=4)
    for one in feeds:
        assert items(one) == list(range(len(items(one))))
        assert one.sinks[0].closed == 1


def test_ctrl_c_ends_all_in_order():
    feeds = [feed(i, 1_000_000) for i in range(3)]
    threading.Timer(0.3, _thread.interrupt_main).start()
    assert isinstance(run_many(feeds, Steps(pause=0.002), batch=4), KeyboardInterrupt)
    for one in feeds:
        assert items(one) == list(range(one.stats.frames))
        assert one.stats.interrupted
        assert one.sinks[0].closed == 1


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return tiny.panoptic_engine(tmp_path_factory.mktemp("engine") / "e.onnx", batch=4)


SAVES = "overlay,panoptic,coco,jsonl,rle,step"


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_outputs_are_byte_for_byte_those_of_single_runs(tmp_path, engine, segopt_cli):
    names = ["a", "b", "c", "d"]
    for i, name in enumerate(names):
        clips.clip(tmp_path / f"{name}.mp4", 9 + i, size=(48 + 2 * i, 64))
    videos = [tmp_path / f"{name}.mp4" for name in names]
    (tmp_path / "list.txt").write_text("# two of them\n" + "\n".join(map(str, videos[2:])) + "\n\n")
    options = ["--engine", engine, "--save", SAVES, "--track"]
    status, out, err = segopt_cli(
        "run", *options, *videos[:2], f"@{tmp_path / 'list.txt'}", "--output", tmp_path / "together"
    )
    assert (status, err) == (0, "")
    for name, video in zip(names, videos, strict=True):
        assert segopt_cli("run", *options, video, "--output", tmp_path / "alone" / name)[0] == 0
        assert f"{name}:\n" in out
    together = contents(tmp_path / "together")
    assert together == contents(tmp_path / "alone")
    assert len(together) > 4 * 20


def test_a_cut_file_fails_alone_and_the_status_says_so(tmp_path, engine, segopt_cli):
    cut = clips.clip(tmp_path / "cut.mp4", 40, noise=True, options={"movflags": "+faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    whole = clips.clip(tmp_path / "whole.mp4", 10)
    arguments = ["--save", "jsonl", "--output", tmp_path / "o"]
    status, _, err = segopt_cli("run", "--engine", engine, cut, whole, *arguments)
    assert status == 1
    assert err.count("\n") == 1
    assert err.startswith("segopt: error: cut: ")
    assert "breaks off after" in err
    lines = [json.loads(line) for line in (tmp_path / "o" / "whole" / "segments.jsonl").read_text().splitlines()]
    assert [(line["source"], line["frame"]) for line in lines] == [("whole", i) for i in range(10)]


def test_sources_of_one_name_get_folders_of_their_own(tmp_path, engine, segopt_cli):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        clips.clip(tmp_path / folder / "drive.mp4", 2)
    arguments = ["--save", "coco", "--output", tmp_path / "o"]
    videos = [tmp_path / folder / "drive.mp4" for folder in ("x", "y")]
    assert segopt_cli("run", "--engine", engine, *videos, *arguments)[0] == 0
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["drive", "drive-2"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["@nowhere.txt"], "@nowhere.txt: cannot be read"),
        (["@empty.txt"], "names no source"),
        (["@binary.txt"], "is no text file"),
        (["a.mp4", "b.mp4", "--show"], "--show: shows one source alone"),
        ([f"{i}.jpg" for i in range(65)], "65 sources, and 64 are the most"),
    ],
)
def test_lists_that_make_no_sense_are_refused_in_one_line(
    tmp_path, engine, segopt_cli, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    status, _, err = segopt_cli("run", "--engine", engine, *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert words in err


@pytest.mark.parametrize("started", range(9))
def test_a_system_that_starts_no_more_threads_ends_a_run(monkeypatch, started):
    """Two readers, three threads in the middle, two that merge, two that write."""
    starts, real = [], threading.Thread.start

    def start(thread):
        if thread.name.startswith("segopt-"):
            starts.append(thread)
            if len(starts) > started:
                raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    feeds, outcome = [feed(i, 200) for i in range(2)], []

    def run():
        try:
            outcome.append(run_many(feeds, Steps(), batch=2))
        except RuntimeError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert outcome
    errors = [*outcome, *(one.error for one in feeds)]
    assert any("can't start new thread" in str(error) for error in errors)
    assert [one.sinks[0].closed for one in feeds] == [1, 1]
