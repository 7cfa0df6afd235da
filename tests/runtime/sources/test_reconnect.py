"""Live sources that break off and come back: over HTTP for real, and with every pause cut short."""

import contextlib
import http.server
import threading
from fractions import Fraction

import numpy as np
import pytest

import clips
from segopt.errors import SourceBrokenError, SourceError
from segopt.sources import Reconnect, Source, SourceFrame, open_source
from segopt.sources import reconnect as module
from segopt.sources.reconnect import ReconnectingSource

IMAGE = np.zeros((4, 4, 3), np.uint8)


class Connection(Source):
    """Frames at the given times; then it breaks off.

    Those of its ``opening`` (in seconds) come together; of a slow reader each second takes several.
    """

    kind, name, live, rate, tick = "video", "cam", True, Fraction(25), Fraction(1, 1000)

    def __init__(self, times, opening=0.0, slowness=1.0):
        super().__init__()
        self.times, self.opening, self.slowness, self.closed, self.clock = times, opening, slowness, False, None

    def _frames(self):
        opened = self.clock.now if self.clock else 0.0
        for i, time in enumerate(self.times):
            if self.clock:
                self.clock.now = opened + max(self.opening, self.slowness * float(time - self.times[0]))
            yield SourceFrame(i, IMAGE, f"{i}", f"{i}.jpg", time)
        if not self.times:
            raise SourceError("cam: not one frame of it can be read; copy it again")
        raise SourceBrokenError("cam: breaks off after {frames} frames", frames=len(self.times), reason="cable")

    def _close(self):
        self.closed = True


class Clock:
    """Time that passes in pauses alone."""

    def __init__(self, monkeypatch):
        self.now, self.pauses = 100.0, []
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)

    def attach(self, source):
        def wait(seconds):
            self.pauses.append(seconds)
            self.now += seconds
            return False

        source._stopping.wait = wait
        return source


def connected(monkeypatch, connections, **options):
    """A source whose later connections are these; a SourceError is an attempt in vain."""
    clock, said = Clock(monkeypatch), []

    def reopen():
        found = next(left)
        if isinstance(found, SourceError):
            raise found
        return found

    connections = list(connections)
    for connection in connections:
        if isinstance(connection, Connection):
            connection.clock = clock
    left = iter(connections)
    first = reopen()
    how = Reconnect(options.pop("attempts", None), said.append)
    return clock.attach(ReconnectingSource("cam", first, reopen, how, **options)), clock, said


GONE = SourceError("cam: cannot be opened (Connection refused); check the address")


def test_the_recording_goes_on_on_one_clock_with_the_gap_in_it(monkeypatch):
    first, second = Connection([Fraction(5), Fraction(51, 10)]), Connection([Fraction(0), Fraction(1, 10)])
    source, clock, said = connected(monkeypatch, [first, GONE, second], max_frames=4)
    frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.file_name for frame in frames] == [f"cam-{i:06d}.jpg" for i in range(4)]
    # 5.1 s and the pauses of 1 and 2 s.
    assert [frame.time for frame in frames] == [Fraction(t, 10) for t in (50, 51, 81, 82)]
    assert clock.pauses == [1, 2]
    assert first.closed
    assert said == [
        "cam: broke off (cable); trying again in 1 s",
        "cam: is not back (cannot be opened (Connection refused)); trying again in 2 s",
        "cam: is back; a gap of 3.0 s from 5.1 s on (2 attempts)",
    ]
    (gap,) = source.gaps
    assert (gap.start, gap.seconds, gap.attempts, gap.reason) == (Fraction(51, 10), 3.0, 2, "cable")


@pytest.mark.parametrize("opening", [0.0, 0.1, 1.8])
def test_what_is_read_while_a_stream_is_opened_does_not_shift_its_clock(monkeypatch, opening):
    """As FFmpeg has it with RTSP: the first frame comes when the stream has been looked at for a while."""
    beat = [Fraction(i, 10) for i in range(40)]
    connections = [Connection(beat), *(Connection(beat, opening) for _ in range(3))]
    source, clock, _ = connected(monkeypatch, connections)
    began, late = clock.now, []
    with contextlib.suppress(StopIteration, RuntimeError):
        for frame in source:
            late.append(clock.now - began - float(frame.time))
    assert len(late) == 160
    for i in range(0, 160, 40):
        # From the moment on at which frames come as they are made.
        assert late[i + 20 : i + 40] == pytest.approx([0] * 20, abs=1e-3)


def test_what_a_slow_reader_had_not_read_when_the_stream_broke_is_part_of_the_gap(monkeypatch):
    """On a busy machine it lags behind. The stream that is back is live: the recording is as long as the run."""
    beat = [Fraction(i, 10) for i in range(40)]
    source, clock, _ = connected(monkeypatch, [Connection(beat, slowness=2.0), Connection(beat)], max_frames=80)
    began = clock.now
    times = [float(frame.time) for frame in source]
    (gap,) = source.gaps
    # 3.9 s of stream were read in 7.8 s; then the pause of 1 s.
    assert times[39] == pytest.approx(3.9)
    assert (float(gap.start), gap.seconds) == pytest.approx((3.9, 4.9))
    assert times[-1] == pytest.approx(clock.now - began, abs=1e-3)
    assert times == sorted(times)


def test_pauses_double_up_to_half_a_minute(monkeypatch):
    connections = [Connection([Fraction(0)]), *[GONE] * 7, Connection([Fraction(0)])]
    source, clock, _ = connected(monkeypatch, connections, max_frames=2)
    assert len(list(source)) == 2
    assert clock.pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_connection_without_a_frame_is_an_attempt_in_vain(monkeypatch):
    connections = [Connection([Fraction(0)]), Connection([]), Connection([Fraction(0)])]
    source, clock, _ = connected(monkeypatch, connections, max_frames=2)
    assert len(list(source)) == 2
    assert clock.pauses == [1, 2]


def test_after_so_many_attempts_it_is_given_up(monkeypatch):
    source, _, _ = connected(monkeypatch, [Connection([Fraction(0)] * 3), GONE, GONE], attempts=2)
    frames = iter(source)
    assert [next(frames).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(
        SourceBrokenError, match=r"after 3 frames \(cable; not back in 2 attempts: .*refused"
    ) as caught:
        next(frames)
    assert "after 2 frames" in str(caught.value.of(2))


def test_the_first_index_after_a_gap_is_one_stride_on(monkeypatch):
    connections = [Connection([Fraction(0)] * 2), Connection([Fraction(0)] * 2)]
    source, _, _ = connected(monkeypatch, connections, stride=3, max_frames=4)
    assert [frame.index for frame in source] == [0, 1, 4, 5]


def test_who_waits_for_a_source_can_be_stopped():
    source = ReconnectingSource("cam", Connection([Fraction(0)]), lambda: Connection([]), Reconnect())
    threading.Timer(0.1, source.stop).start()
    assert len(list(source)) == 1
    source.close()


def test_an_http_stream_that_ends_is_opened_again(tmp_path):
    data = clips.clip(tmp_path / "clip.ts", 30, noise=True).read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    said = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/cam"
        with open_source(url, timeout=5, max_frames=45, reconnect=Reconnect(on_event=said.append)) as source:
            frames = list(source)
        server.shutdown()
    assert [frame.index for frame in frames] == list(range(45))
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    assert 0.9 < times[30] - times[29] < 10
    assert "broke off (" in said[0]
    assert "trying again in 1 s" in said[0]
    assert "is back" in said[1]
