"""Memory and CPU time of whole processes, and how cost grows."""

import sys

import pytest

import tiny
from segopt.sources import open_source
from segopt_bench.footprint import eager_run
from segopt_bench.footprint.__main__ import JOBS, table
from segopt_bench.footprint.process import ProcessError, Usage, run_watched
from segopt_bench.reporting.spread import Spread
from segopt_bench.scale.__main__ import cost_table, video_line
from segopt_bench.scale.axes import Cost, Variant, variants
from segopt_bench.scale.plots import costs_png, memory_png
from segopt_bench.scale.video import growth, run_long_video, write_long_video

MIB = 2**20


def python(code):
    return [sys.executable, "-c", code]


def test_the_peak_is_seen_and_is_the_processes_own():
    # This process is larger than that one, and must not count.
    held = run_watched(python("import time; x = bytearray(150 * 2**20); time.sleep(0.3); del x; time.sleep(0.2)"))
    plain = run_watched(python("import time; time.sleep(0.3)"))
    assert 150 * MIB < held.peak_bytes < 220 * MIB
    assert plain.peak_bytes < 40 * MIB
    assert held.samples[-1][1] < 100 * MIB


def test_cpu_time_is_that_of_all_threads():
    busy = run_watched(
        python("import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass")
    )
    idle = run_watched(python("import time; time.sleep(0.4)"))
    assert busy.cpu_seconds >= 0.4
    assert idle.cpu_seconds < busy.cpu_seconds


def test_a_command_that_fails_says_its_last_words():
    with pytest.raises(ProcessError, match=r"ended with status 3: no such thing$"):
        run_watched(python("import sys; print('no such thing'); sys.exit(3)"))


def test_the_table_has_shares():
    ours, eager = (Usage(MIB * peak, cpu, 1.0, ()) for peak, cpu in ((100, 2.0), (1000, 8.0)))
    names = list(JOBS)
    rows = table({names[0]: [ours], names[1]: [eager]}, {names[0]: [ours], names[1]: [eager]}).rows
    assert rows[0] == ("peak memory, MiB", "100", "1000", "0.100")
    assert rows[1][1:] == ("2.00", "8.00", "0.250")


def test_a_job_keeps_byte_code_whatever_this_process_does(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    run_watched(python("import sys; sys.exit(sys.dont_write_bytecode)"))


def test_growth_is_that_of_the_last_half():
    samples = [(float(t), 5000 * t if t < 50 else 250_000) for t in range(100)]
    assert growth(samples) == pytest.approx(0, abs=1e-6)
    assert growth([(float(t), 3 * t) for t in range(10)]) == pytest.approx(3)


@pytest.mark.slow
def test_a_long_video_has_its_frames_and_is_run_to_its_end(tmp_path):
    video = tmp_path / "v.mp4"
    write_long_video(video, (48, 64), frames=70)
    with open_source(str(video)) as source:
        assert sum(1 for _ in source) == 70
    engine = tiny.panoptic_engine(tmp_path / "tiny.onnx")
    usage = run_long_video(engine, (48, 64), frames=5)
    assert usage.peak_bytes > 20 * MIB
    assert "5 frames in" in video_line(usage, 5)
    assert memory_png(usage, 5).startswith(b"\x89PNG")


def test_each_axis_varies_one_thing():
    standard = Variant("", "", 0)
    for variant in variants():
        differing = [
            name for name in ("canvas", "batch", "detections") if getattr(variant, name) != getattr(standard, name)
        ]
        assert len(differing) <= 1
    assert len({variant.axis for variant in variants()}) == 3


def test_costs_are_told_by_axis():
    spread = Spread(2.0, 1.0, 3.0)
    stages = dict.fromkeys(("letterbox", "network", "decode", "merge"), spread)
    costs = [Cost(variant, spread, stages) for variant in variants()]
    assert cost_table("batch", costs[:1]).rows[0][:3] == ("128x224", "2.00", "1.00 to 3.00")
    assert costs_png(costs).startswith(b"\x89PNG")


def test_the_eager_job_fails_in_one_line(tmp_path, capsys):
    engine = tiny.semantic_engine(tmp_path / "tiny.onnx")
    assert eager_run.main(["--engine", str(engine), "--output", str(tmp_path), "x.mp4"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
