"""How long the stages of a run work, and what ``segopt run`` says of it."""

import pickle

import cv2
import numpy as np
import pytest

from segopt.pipeline.clock import StageClock, StageTime, slowest


def test_a_clock_adds_up_and_takes_the_median_of_a_frame():
    clock = StageClock()
    for seconds, frames in ((0.4, 4), (0.1, 1), (0.9, 1)):
        clock.add(seconds, frames)
    assert clock.time.busy == pytest.approx(1.4)
    assert clock.time.frame_ms == pytest.approx(100, rel=0.005)


def test_a_clocks_median_is_right_to_half_a_percent():
    random = np.random.default_rng(0)
    for count in (1, 2, 3, 1000):
        seconds = random.lognormal(-4, 1, count)
        clock = StageClock()
        for each in seconds:
            clock.add(each)
        lower, upper = np.quantile(seconds, 0.5, method="lower"), np.quantile(seconds, 0.5, method="higher")
        assert 0.995 * lower <= clock.time.frame_ms / 1000 <= 1.005 * upper


def test_a_clock_takes_no_more_memory_the_longer_it_runs():
    clock = StageClock()
    sizes = []
    for seconds in np.random.default_rng(1).uniform(0.01, 0.02, 20_000):
        clock.add(seconds)
        sizes.append(len(pickle.dumps(clock)))
    assert sizes[-1] < sizes[2000] + 500


def test_a_clock_that_never_ran_shows_nothing():
    assert StageClock().time == StageTime(0.0, 0.0)


def test_the_stage_that_worked_longest_is_the_slowest():
    # One long frame more than makes up for a higher median.
    assert slowest({"a": StageTime(9.0, 1.0), "b": StageTime(5.0, 2.0)}) == "b"


def test_run_ends_with_a_line_for_each_stage(panoptic_engine, tmp_path, segopt_cli):
    cv2.imwrite(str(tmp_path / "p.png"), np.full((48, 64, 3), 200, np.uint8))
    status, out, _ = segopt_cli("run", "--engine", panoptic_engine, tmp_path / "p.png", "--output", tmp_path)
    assert status == 0
    lines = [line for line in out.splitlines() if "% busy" in line]
    assert [line.split("  ")[1] for line in lines] == [
        "read, decode, letterbox",
        "network",
        "merge",
        "draw",
        "encode",
    ]
    assert sum("the bottleneck" in line for line in lines) == 1
