from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import clips
from segopt.sinks.mp4 import VideoWriter
from segopt.sources import open_source
from segopt.sources.timeline import Timeline


def times(spec):
    with open_source(str(spec)) as source:
        return [frame.time for frame in source], source.notes


def joined(target, *parts):
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("frames", [4, 30])
def test_a_clock_that_restarts_goes_on_behind_what_came_before(tmp_path, frames, codec):
    part = clips.clip(tmp_path / "a.ts", frames, rate=Fraction(30), codec=codec)
    found, notes = times(joined(tmp_path / "aaa.ts", part, part, part))
    start = found[0]
    assert [time - start for time in found] == [Fraction(i, 30) for i in range(3 * frames)]
    assert "its clock restarts or jumps 2 times" in notes[0]


def test_the_overlay_of_a_restarting_clock_keeps_frame_count_and_length(tmp_path):
    part = clips.clip(tmp_path / "a.ts", 30, rate=Fraction(30))
    path = joined(tmp_path / "aa.ts", part, part)
    target = tmp_path / "out.mp4"
    with open_source(str(path)) as source, VideoWriter(target, rate=source.rate, tick=source.tick) as video:
        for frame in source:
            video.write(frame.image, time=frame.time, duration=frame.duration)
    played = clips.play(target)
    assert (played.frames, played.duration) == (60, 2)
    assert played.numbers == [*range(30), *range(30)]


@pytest.mark.parametrize("hours", [0.1, -0.1, 20])
def test_a_clock_that_jumps_goes_on_behind_what_came_before(tmp_path, hours):
    first = 3600 * 30 * 24
    start = first + round(3600 * 30 * hours)
    a = clips.clip(tmp_path / "a.ts", 20, rate=Fraction(30), times=list(range(first, first + 20)))
    b = clips.clip(tmp_path / "b.ts", 20, rate=Fraction(30), times=list(range(start, start + 20)))
    found, _ = times(joined(tmp_path / "ab.ts", a, b))
    assert [time - found[0] for time in found] == [Fraction(i, 30) for i in range(40)]


def test_a_gap_of_seconds_stays_a_gap(tmp_path):
    stamps = [*range(10), *range(130, 140)]
    path = clips.clip(tmp_path / "a.ts", 20, rate=Fraction(30), times=stamps)
    found, notes = times(path)
    assert [time - found[0] for time in found] == [Fraction(i, 30) for i in stamps]
    assert notes == []


@dataclass
class Packet:
    pts: int | None
    dts: int | None
    index: int = 0
    duration: int = 40
    time_base: Fraction = Fraction(1, 1000)

    @property
    def stream(self):
        return SimpleNamespace(index=self.index)


def placed(timeline, stamps, index=0, **options):
    packets = [Packet(stamp, stamp, index, **options) for stamp in stamps]
    for packet in packets:
        timeline.place(packet)
    return [packet.dts for packet in packets]


def timeline(**options):
    return Timeline(0, Fraction(1, 25), **{"may_jump": True, **options})


def test_sound_is_shifted_as_far_as_the_frames_wherever_its_packets_are_stored():
    line = timeline()
    assert placed(line, [0, 40, 80]) == [0, 40, 80]
    assert placed(line, [0, 30], 1, duration=30) == [0, 30]
    assert placed(line, [0, 40]) == [120, 160]
    # Sound from before the break, stored behind frames from after it; then its own break.
    assert placed(line, [60, 90], 1, duration=30) == [60, 90]
    assert placed(line, [0, 30], 1, duration=30) == [120, 150]
    assert line.breaks == 1


def test_times_that_are_equal_or_unknown_are_left_alone():
    assert placed(timeline(), [0, 40, 40, 80]) == [0, 40, 40, 80]
    packet = Packet(None, None)
    timeline().place(packet)
    assert (packet.pts, packet.dts) == (None, None)


def test_frames_in_the_order_of_decoding_are_no_restart():
    line, shown = timeline(), [0, 160, 80, 40, 120, 320, 240, 200, 280]
    packets = [Packet(pts, None) for pts in shown]
    for packet in packets:
        line.place(packet)
    assert [packet.pts for packet in packets] == shown


def test_a_live_clock_that_restarts_leaves_the_gap_that_it_made():
    clock = [0.0]
    line = timeline(now=lambda: clock[0])
    assert placed(line, [50_000]) == [50_000]
    clock[0] = 0.04
    assert placed(line, [50_040]) == [50_040]
    clock[0] = 7.08
    assert placed(line, [0]) == [57_080]
    clock[0] = 7.12
    assert placed(line, [40]) == [57_120]


def test_a_live_gap_that_this_machines_clock_confirms_is_believed():
    clock = [0.0]
    line = timeline(now=lambda: clock[0])
    placed(line, [0])
    clock[0] = 60.0
    assert placed(line, [60_000]) == [60_000]
    assert line.breaks == 0


def test_random_breaks_never_turn_the_clock_back_and_keep_the_length():
    rng = np.random.default_rng(0)
    for _ in range(50):
        line, stored, total = timeline(), [], 0
        for _ in range(rng.integers(1, 6)):
            start, count = int(rng.integers(0, 2**33)), int(rng.integers(3, 20))
            stored += [start + 40 * i for i in range(count)]
            total += count
        out = placed(line, stored)
        assert np.all(np.diff(out) == 40)
        assert out[-1] - out[0] == 40 * (total - 1)


@pytest.mark.parametrize("far", [10**12, 10**18, -(10**18), 2**63 - 100])
@pytest.mark.parametrize("may_jump", [False, True])
def test_a_time_thousands_of_years_away_is_a_break_or_unknown(far, may_jump):
    line = timeline(may_jump=may_jump)
    assert placed(line, [0, 40, far, far + 40]) == [0, 40, 80, 120]
    # Decoded in time, and shown when that cannot be.
    packet = Packet(far, 160)
    line = timeline(may_jump=may_jump)
    placed(line, [0, 40, 80, 120])
    line.place(packet)
    assert (packet.pts, packet.dts) == (None, 160)


def test_frames_with_times_thousands_of_years_away_are_all_in_the_overlay(tmp_path, segopt_cli, panoptic_engine):
    clips.clip(tmp_path / "a.mkv", 5, times=[0, 1, 2, 10**12, 10**12 + 1])
    arguments = ["--engine", panoptic_engine, "--output", tmp_path / "out"]
    status, _, err = segopt_cli("run", tmp_path / "a.mkv", *arguments)
    assert (status, err.count("\n")) == (1, 1)
    assert "breaks off after 5 frames (it holds 0.2 of 80000000000.2 s)" in err
    video = clips.play(tmp_path / "out" / "a-overlay.mp4")
    assert (video.frames, video.duration < 1) == (5, True)
