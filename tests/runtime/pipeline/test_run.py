import _thread
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

import clips
import segopt
import tiny
from segopt.backends import Pending
from segopt.errors import EngineError, SinkError, SourceBrokenError
from segopt.pipeline.channel import Channel
from segopt.pipeline.clock import slowest
from segopt.pipeline.run import run_pipeline
from segopt.results import SemanticResult
from segopt.sinks.base import Sink
from segopt.sources import Source, SourceFrame, open_source
from segopt.stages import Stages

FRAMES = 12


class Numbered(Source):
    """Frames whose pixels are their index. ``fails_at`` breaks it off; ``pause`` is seconds between frames."""

    kind = "video"
    name = "numbered"
    rate = Fraction(25)

    def __init__(self, count=FRAMES, *, fails_at=None, live=False, pause=0.0, error=None):
        super().__init__()
        self.count, self.live, self.pause, self.fails_at = count, live, pause, fails_at
        self.error = error or SourceBrokenError("numbered: breaks off")

    def _frames(self):
        for i in range(self.count):
            if i == self.fails_at:
                raise self.error
            time.sleep(self.pause)
            yield SourceFrame(i, np.full((4, 4, 3), i % 256, np.uint8), f"{i}", f"{i}.jpg", Fraction(i, 25))


class Steps(Stages):
    """Answers with what it saw, and fails where it is told to."""

    batch = None

    def __init__(self, *, batch=1, fails=None, fails_at=5, pause=0.0, converged=True):
        self.batch, self.fails, self.fails_at, self.pause, self.converged = (
            batch,
            fails,
            fails_at,
            pause,
            converged,
        )
        self.batches = []

    def _check(self, step, frames):
        if step == self.fails and any(frame[0, 0, 0] == self.fails_at for frame in frames):
            raise EngineError(f"{step} failed")

    def prepare(self, frames):
        assert 1 <= len(frames) <= self.batch
        self._check("prepare", frames)
        return frames

    def infer(self, prepared):
        self._check("infer", prepared)
        self.batches.append(len(prepared))
        time.sleep(self.pause)
        return prepared

    def finish(self, prepared, outputs):
        assert prepared is outputs
        self._check("finish", prepared)
        return super().finish(prepared, outputs)

    def decode(self, _prepared, outputs):
        return [frame[..., 0] for frame in outputs]

    def assemble(self, found):
        return SemanticResult(found, tiny.SEMANTIC_CATEGORIES)


class StepsAhead(Steps):
    """Steps that take the next frames while they work on the ones before; ``most`` is how many were under way."""

    depth = None

    def __init__(self, *, depth=2, **options):
        super().__init__(**options)
        self.depth, self.under_way, self.most = depth, 0, 0

    def submit(self, prepared):
        self._check("submit", prepared)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        return Pending(lambda: self._result(prepared))

    def _result(self, prepared):
        self.under_way -= 1
        return self.infer(prepared)


class Collect(Sink):
    label = "list"

    def __init__(self, *, fails_at=None, close_fails=False, pause=0.0):
        self.items, self.closed, self.fails_at, self.close_fails, self.pause = [], 0, fails_at, close_fails, pause

    def write(self, item):
        if item.index == self.fails_at:
            raise SinkError("list: is full")
        time.sleep(self.pause)
        assert (item.result.classes == item.index % 256).all()
        self.items.append(item.index)

    def close(self):
        self.closed += 1
        if self.close_fails:
            raise SinkError("list: cannot be closed")


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    deadline = time.monotonic() + 3
    while any(thread.name.startswith("segopt-") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


@pytest.mark.parametrize("batch", [1, 4, 5, 20])
def test_a_file_loses_no_frame_and_keeps_the_order(batch):
    sink, steps = Collect(), Steps(batch=batch)
    stats = run_pipeline(Numbered(), steps, [sink], batch=batch)
    assert sink.items == list(range(FRAMES))
    assert sink.closed == 1
    assert (stats.frames, stats.dropped, stats.interrupted) == (FRAMES, 0, False)
    assert sum(steps.batches) == FRAMES
    assert steps.batches[:-1] == [batch] * (len(steps.batches) - 1)


@pytest.mark.parametrize("slow", ["source", "infer", "sink"])
def test_a_slow_stage_holds_the_others_back_without_loss(slow):
    pause = {name: 0.01 if name == slow else 0.0 for name in ("source", "infer", "sink")}
    sink = Collect(pause=pause["sink"])
    stats = run_pipeline(Numbered(pause=pause["source"]), Steps(pause=pause["infer"]), [sink])
    assert sink.items == list(range(FRAMES))
    stage = {"source": "decode", "infer": "infer", "sink": "write"}[slow]
    assert slowest(stats.stages) == stage
    assert stats.stages[stage].frame_ms >= 10
    assert 0.01 * FRAMES <= stats.stages[stage].busy <= stats.seconds


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("depth", [2, 3])
def test_a_network_that_works_ahead_is_kept_busy(depth, batch):
    sink, steps = Collect(), StepsAhead(depth=depth, batch=batch, pause=0.01)
    stats = run_pipeline(Numbered(24), steps, [sink], batch=batch)
    assert sink.items == list(range(24))
    assert steps.most == depth
    assert steps.under_way == 0
    assert stats.stages["infer"].frame_ms * batch >= 10


class OneAtATime(Steps):
    """A network that is given frames ahead, as a GPU is, and works on one after the other."""

    depth = 2

    def __init__(self, *, pause):
        super().__init__(pause=pause)
        self._queue = ThreadPoolExecutor(1)

    def submit(self, prepared):
        return self._queue.submit(self.infer, prepared)


def test_a_network_that_works_ahead_is_not_busy_twice_at_once():
    """A frame that waits in the network for the one before it is not counted for both."""
    count, pause = 15, 0.02
    stats = run_pipeline(Numbered(count), OneAtATime(pause=pause), [Collect()])
    network = stats.stages["infer"]
    assert count * pause <= network.busy <= stats.seconds
    # The median, so that a pause of this machine in the middle of a frame is forgiven.
    assert 1000 * pause <= 1.005 * network.frame_ms <= 1.5 * 1000 * pause


def test_a_network_that_waits_for_frames_is_not_busy():
    count, pause = 8, 0.05
    stats = run_pipeline(Numbered(count, pause=pause), OneAtATime(pause=0.001), [Collect()])
    assert stats.seconds >= count * pause
    assert 0.001 * count <= stats.stages["infer"].busy <= 0.5 * stats.seconds


def test_a_frame_that_is_done_does_not_wait_for_the_next_one():
    class OneByOne(Numbered):
        def _frames(self):
            for frame in super()._frames():
                yield frame
                assert arrived.wait(3), "the frame was kept back"
                arrived.clear()

    class Tell(Collect):
        def write(self, item):
            super().write(item)
            arrived.set()

    arrived, sink = threading.Event(), Tell()
    run_pipeline(OneByOne(4), StepsAhead(), [sink])
    assert sink.items == [0, 1, 2, 3]


def test_a_live_frame_never_waits_in_the_network():
    class SlowToStart(StepsAhead):
        def submit(self, prepared):
            time.sleep(0.01)  # The next frame comes.
            return super().submit(prepared)

    steps = SlowToStart()
    run_pipeline(Numbered(8, live=True, pause=0.002), steps, [Collect()])
    assert steps.most == 1


@pytest.mark.parametrize("step", ["prepare", "submit", "infer", "finish"])
def test_an_error_ahead_of_its_turn_loses_nothing_before_it(step):
    sink = Collect()
    with pytest.raises(EngineError, match=f"{step} failed"):
        run_pipeline(Numbered(1000), StepsAhead(fails=step), [sink])
    assert sink.items == [0, 1, 2, 3, 4]
    assert sink.closed == 1


def test_stages_overlap():
    stats = run_pipeline(Numbered(20, pause=0.02), Steps(pause=0.02), [Collect(pause=0.02)])
    assert stats.seconds < 0.75 * 3 * 20 * 0.02


@pytest.mark.parametrize("step", ["prepare", "infer", "finish"])
@pytest.mark.parametrize("batch", [1, 2])
def test_an_error_in_the_segmenter_is_raised_and_what_came_before_is_kept(step, batch):
    sink = Collect()
    with pytest.raises(EngineError, match=f"{step} failed"):
        run_pipeline(Numbered(1000), Steps(fails=step, batch=batch), [sink], batch=batch)
    assert sink.items == list(range(5 // batch * batch))
    assert sink.closed == 1


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_source_that_breaks_off_delivers_every_frame_before(batch):
    sink = Collect()
    with pytest.raises(SourceBrokenError):
        run_pipeline(Numbered(fails_at=7), Steps(batch=batch), [sink], batch=batch)
    assert sink.items == list(range(7))
    assert sink.closed == 1


def test_an_unforeseen_error_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError):
        run_pipeline(Numbered(fails_at=2, error=ZeroDivisionError()), Steps(), [Collect()])


def test_a_full_sink_stops_the_run_and_all_sinks_are_closed():
    first, full = Collect(), Collect(fails_at=4)
    with pytest.raises(SinkError, match="is full"):
        run_pipeline(Numbered(10_000), Steps(), [first, full])
    assert full.items == [0, 1, 2, 3]
    assert (first.closed, full.closed) == (1, 1)


class Drawn(Collect):
    """Takes drawn frames, and notes which threads drew and wrote."""

    wants_overlay = True

    def __init__(self, threads, **options):
        super().__init__(**options)
        self.threads = threads

    def write(self, item):
        self.threads["encode"].add(threading.current_thread().name)
        assert item.overlay is item.overlay
        super().write(item)


def test_drawing_encoding_and_writing_have_threads_of_their_own_and_keep_every_frame():
    threads = {"draw": set(), "encode": set()}

    class DrawnSteps(Steps):
        def assemble(self, found):
            class Result(SemanticResult):
                def draw(self, frame, **_):
                    threads["draw"].add(threading.current_thread().name)
                    time.sleep(0.01)
                    return frame.copy()

            return Result(found, tiny.SEMANTIC_CATEGORIES)

    encoded, written = Drawn(threads, pause=0.01), Collect(pause=0.01)
    stats = run_pipeline(Numbered(30), DrawnSteps(), [encoded, written])
    assert encoded.items == written.items == list(range(30))
    assert threads == {"draw": {"segopt-draw"}, "encode": {"segopt-encode"}}
    assert list(stats.stages) == ["decode", "infer", "finish", "draw", "encode", "write"]
    assert stats.frames == 30
    assert stats.seconds < 0.75 * 3 * 30 * 0.01


@pytest.mark.parametrize("drawn", [False, True])
def test_when_one_sink_is_full_the_others_keep_what_they_were_given(drawn):
    threads = {"encode": set()}
    sinks = [Drawn(threads, fails_at=4 if drawn else None), Collect(fails_at=None if drawn else 4)]
    with pytest.raises(SinkError, match="is full"):
        run_pipeline(Numbered(10_000), Steps(), sinks)
    full, other = sinks if drawn else reversed(sinks)
    assert full.items == [0, 1, 2, 3]
    assert other.items == list(range(len(other.items)))
    assert 3 < len(other.items) < 20
    assert [sink.closed for sink in sinks] == [1, 1]


def test_a_sink_that_does_not_close_is_reported_and_the_others_are_closed():
    bad, good = Collect(close_fails=True), Collect()
    with pytest.raises(SinkError, match="cannot be closed"):
        run_pipeline(Numbered(), Steps(), [bad, good])
    assert good.closed == 1


def test_the_first_error_is_the_one_that_is_raised():
    with pytest.raises(SourceBrokenError):
        run_pipeline(Numbered(fails_at=3), Steps(), [Collect(close_fails=True)])


def test_an_empty_source_is_fine():
    assert run_pipeline(Numbered(0), Steps(), [Collect()]).frames == 0


def test_a_live_source_keeps_the_latest_frame_only():
    sink = Collect()
    stats = run_pipeline(Numbered(100, live=True, pause=0.002), Steps(batch=4, pause=0.03), [sink], batch=4)
    assert stats.dropped > 20
    assert stats.frames + stats.dropped == 100
    assert sink.items == sorted(set(sink.items))
    assert sink.items[-1] == 99


@pytest.mark.parametrize("live", [False, True])
def test_ctrl_c_ends_the_run_and_keeps_what_was_done(live):
    sink = Collect(pause=0.002)
    threading.Timer(0.2, _thread.interrupt_main).start()
    stats = run_pipeline(Numbered(1_000_000, live=live), Steps(), [sink])
    assert stats.interrupted
    assert stats.frames == len(sink.items) > 10
    assert sink.closed == 1


def test_ctrl_c_does_not_wait_for_a_source_that_hangs():
    class Hanging(Numbered):
        def _frames(self):
            yield from super()._frames()
            release.wait(30)

    release, sink = threading.Event(), Collect()
    threading.Timer(0.2, _thread.interrupt_main).start()
    start = time.monotonic()
    stats = run_pipeline(Hanging(), Steps(), [sink])
    assert time.monotonic() - start < 5
    assert (stats.frames, sink.closed) == (FRAMES, 1)
    release.set()


@pytest.mark.slow
@pytest.mark.parametrize("interrupts", [1, 2])
@pytest.mark.parametrize("steps", [Steps, StepsAhead])
def test_ctrl_c_does_not_wait_for_a_network_that_hangs(steps, interrupts):
    class Hanging(steps):
        abandoned = False

        def infer(self, prepared):
            if prepared[0][0, 0, 0] == 5:
                release.wait(30)
            return super().infer(prepared)

        def abandon(self):
            self.abandoned = True

    release, sink, hanging = threading.Event(), Collect(), Hanging()
    for i in range(interrupts):
        threading.Timer(0.3 + 0.1 * i, _thread.interrupt_main).start()
    start = time.monotonic()
    stats = run_pipeline(Numbered(), hanging, [sink])
    assert time.monotonic() - start < 6
    assert (stats.interrupted, stats.network_hangs, hanging.abandoned) == (True, True, True)
    assert (sink.items, sink.closed) == ([0, 1, 2, 3, 4], 1)
    release.set()


def test_a_slow_network_is_not_taken_for_one_that_hangs():
    sink, steps = Collect(), Steps(pause=0.9)
    threading.Timer(2.2, _thread.interrupt_main).start()
    stats = run_pipeline(Numbered(), steps, [sink])
    assert (stats.interrupted, stats.network_hangs) == (True, False)
    assert len(sink.items) == len(steps.batches) >= 2


def test_a_third_ctrl_c_does_not_wait_for_a_sink_that_hangs():
    class Hanging(Collect):
        def write(self, item):  # noqa: ARG002
            release.wait(30)

    release = threading.Event()
    for i in range(3):
        threading.Timer(0.3 + 0.2 * i, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(Numbered(), Steps(), [Hanging()])
    release.set()


@pytest.mark.parametrize("fails_at", [3, 7])
def test_a_source_that_breaks_off_counts_the_frames_that_were_written(fails_at):
    error = SourceBrokenError("numbered: breaks off after {frames} frames; those are kept", frames=99)
    sink = Collect()
    with pytest.raises(SourceBrokenError, match=f"after {fails_at} frames"):
        run_pipeline(Numbered(fails_at=fails_at, error=error), Steps(), [sink])
    assert len(sink.items) == fails_at


def test_the_screen_gets_pictures_in_the_calling_thread_and_can_end_the_run():
    class Screen:
        shown = 0

        def show(self, image):
            assert threading.current_thread() is threading.main_thread()
            assert image.shape == (48, 64, 3)
            self.shown += 1
            return self.shown < 3

        def poll(self):
            return True

    class Pictures(Numbered):
        def _frames(self):
            for i in range(100_000):
                yield SourceFrame(i, clips.frame(i % 100), f"{i}", f"{i}.jpg")

    screen = Screen()
    stats = run_pipeline(Pictures(), Steps(pause=0.001), [], screen=screen)
    assert screen.shown >= 3
    assert not stats.interrupted


def test_progress_is_told_in_the_calling_thread_up_to_the_last_frame():
    seen = []
    run_pipeline(Numbered(30, pause=0.01), Steps(), [], on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 30
    assert len(seen) > 1


def test_an_error_in_the_progress_display_does_not_leave_sinks_open():
    def fail(_frames):
        raise OSError("terminal is gone")

    sink = Collect()
    with pytest.raises(OSError, match="terminal"):
        run_pipeline(Numbered(100_000), Steps(pause=0.001), [sink], on_progress=fail)
    assert sink.closed == 1


def test_frames_whose_suppression_did_not_converge_are_counted(tmp_path):
    engine = tiny.instance_engine(tmp_path / "e.onnx", converged=False)
    with open_source(str(clips.clip(tmp_path / "a.mp4", 6))) as source, segopt.load(engine) as segmenter:
        assert run_pipeline(source, segmenter, []).unconverged == 6


def test_a_batched_engine_gives_what_an_unbatched_one_gives(tmp_path):
    class Keep(Sink):
        def __init__(self):
            self.maps = []

        def write(self, item):
            self.maps.append(item.result.segment_map)

    kept = []
    video = clips.clip(tmp_path / "a.mp4", 10)
    for batch in (1, 4):
        engine = tiny.panoptic_engine(tmp_path / f"{batch}.onnx", batch=batch)
        sink = Keep()
        with open_source(str(video)) as source, segopt.load(engine) as segmenter:
            run_pipeline(source, segmenter, [sink], batch=batch)
        kept.append(sink.maps)
    np.testing.assert_array_equal(kept[0], kept[1])


def test_no_thread_of_a_run_outlives_it():
    # A thread that still lets go of what it holds when Python exits takes the process down with it.
    let_go = threading.Event()

    class Held:
        def __del__(self):
            time.sleep(0.1)
            let_go.set()

    class Holds(Sink):
        own = threading.local()

        def write(self, item):  # noqa: ARG002
            self.own.held = Held()

    run_pipeline(Numbered(1), Steps(), [Holds()])
    assert let_go.is_set()


def test_taking_from_a_full_channel_makes_room_for_who_waits_to_give():
    channel = Channel(1)
    assert channel.put(1)
    giver = threading.Thread(target=channel.put, args=(2,), daemon=True)
    giver.start()
    assert channel.take() == 1
    giver.join(2)
    assert not giver.is_alive()
    assert channel.take() == 2
    assert channel.take() is None


def test_a_channel_that_was_ended_makes_nobody_wait():
    channel = Channel(1)
    assert channel.put(1)
    taker = threading.Thread(target=lambda: results.append(channel.put(2)))
    results = []
    taker.start()
    channel.abort()
    taker.join(2)
    assert results == [False]
    assert channel.get() is None


@pytest.mark.parametrize("started", range(4))
def test_a_system_that_starts_no_more_threads_ends_a_run(monkeypatch, started):
    starts, real = [], threading.Thread.start

    def start(thread):
        if thread.name.startswith("segopt-"):
            starts.append(thread)
            if len(starts) > started:
                raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(run_pipeline, Numbered(), Steps(), [sink := Collect()])
        with pytest.raises(RuntimeError, match="can't start new thread"):
            outcome.result(timeout=20)
    assert sink.closed == 1
