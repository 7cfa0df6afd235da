"""``segopt bench --plan``: what a model costs, what limits it, and one line for what cannot be."""

import json

import pytest

import tiny
from segopt.errors import EngineError, UsageError
from segopt.pipeline.clock import StageTime
from segopt.pipeline.run import RunStats
from segopt_bench.plan import job
from segopt_bench.plan.cameras import FEWEST, Camera
from segopt_bench.plan.job import Found, Load, Request, measure, summarize
from segopt_bench.plan.planning import Plan, lines, make_plans
from segopt_bench.reporting.spread import Spread


@pytest.fixture
def model(tmp_path):
    return tiny.panoptic_engine(tmp_path / "panoptic.onnx", batch=2)


def request_for(model, **changes):
    asked = {"device": "cpu", "data": None, "pictures": 2, "rounds": 3, "cameras": (1, 2), **changes}
    return Request(str(model), **asked)


def test_every_number_of_cameras_gets_all_its_stages(model):
    found = measure(request_for(model))
    assert [load.cameras for load in found.loads] == [1, 2]
    for load in found.loads:
        assert load.fps > 0
        assert set(load.stages) == {"decode", "infer", "finish", "draw", "encode"}
        assert load.limit in load.stages
    assert found.title.startswith("ONNX Runtime")
    assert found.title.endswith("fp32, canvas 48x64")
    assert Found.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_camera_ends_by_its_frames_or_by_the_clock():
    def count(most, seconds):
        return len(list(Camera(0, tiny_frames(), most=most, seconds=seconds)))

    assert count(20, 1000) == 20
    assert count(1000, 0) == FEWEST
    frames = list(Camera(3, tiny_frames(), most=5, seconds=9))
    assert [frame.name for frame in frames] == [f"camera-3-{i:06d}" for i in range(5)]
    assert frames[4].image is frames[2].image


def tiny_frames():
    from segopt_bench.latency.pictures import scene_pictures

    return scene_pictures(2, (32, 48)).frames


def test_the_busiest_stage_of_any_camera_is_the_limit():
    def stats(seconds, frames, **busy):
        stages = {name: StageTime(10.0, each) for name, each in busy.items()}
        return RunStats(frames=frames, dropped=0, seconds=seconds, stages=stages, unconverged=0)

    one, other = stats(2.0, 20, infer=1.0, encode=1.2), stats(2.0, 18, infer=1.0, encode=1.8)
    found = summarize([one, other])
    assert (found.cameras, found.fps, found.limit, found.busy) == (2, 9.0, "encode", 0.9)


def test_what_is_said_of_a_model(tmp_path):
    loads = (
        Load(1, 22.12, "infer", 0.96, {"infer": 41.0, "encode": 5.5}),
        Load(4, 5.4, "encode", 0.5, {"infer": 41.0, "encode": 5.5}),
    )
    found = Found("ONNX Runtime 1 (CPU), fp32, canvas 256x448", "scenes", Spread(35.0, 33.0, 41.25), loads)
    assert lines(Plan(tmp_path / "m.onnx", found, 310_000_000)) == [
        f"{tmp_path / 'm.onnx'}: ONNX Runtime 1 (CPU), fp32, canvas 256x448",
        "  one frame alone   35.0 ms from frame to result (33.0 ms to 41.2 ms)",
        "  1 camera          22.1 fps, limited by network, 96% busy",
        "  4 cameras         5.4 fps each, limited by encode, 50% busy",
        "  stages, 1 camera  network 41.0 ms, encode 5.50 ms a frame",
        "  memory            310 MB at most",
    ]


def test_the_error_of_a_model_that_does_not_run_is_handed_on(model):
    with pytest.raises(EngineError, match="has no CUDA provider"):
        make_plans([model], cameras=1, device="cuda", rounds=1)


@pytest.mark.parametrize("cameras", [0, -1, 65])
def test_a_number_of_cameras_that_cannot_be_is_one_line(model, cameras):
    with pytest.raises(UsageError, match=f"--cameras {cameras}: must be from 1 to 64"):
        make_plans([model], cameras=cameras)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--plan", "--accuracy", "--layers"], "--plan measures models alone: leave --accuracy, --layers out"),
        (["--cameras", "2"], "--cameras is for --plan"),
        (["--plan", "--cameras", "0"], "--cameras 0: must be from 1 to 64"),
        (["--plan", "--inference-precision", "bf16"], "no model here has half precision in it"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(model, segopt_cli, options, text):
    status, out, err = segopt_cli("bench", "--engine", model, *options)
    assert (status, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1


def test_a_file_that_is_no_model_is_one_line(tmp_path, segopt_cli):
    (tmp_path / "no.onnx").write_bytes(b"no")
    status, _, err = segopt_cli("bench", "--plan", "--engine", tmp_path / "no.onnx")
    assert status == 1
    assert "no.onnx" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_the_command_says_and_writes_all(model, segopt_cli, tmp_path):
    file = tmp_path / "plan.json"
    options = ["--plan", "--cameras", 2, "--rounds", 2, "--device", "cpu", "--json", file]
    status, out, err = segopt_cli("bench", "--engine", model, *options)
    assert status == 0, err
    for text in ("one frame alone", "1 camera  ", "2 cameras ", "limited by ", "MB at most", "machine: "):
        assert text in out
    (plan,) = json.loads(file.read_text())["plans"]
    assert plan["engine"] == str(model)
    assert plan["peak_bytes"] > 50e6
    assert [load["cameras"] for load in plan["loads"]] == [1, 2]
    assert segopt_cli("bench", "--engine", model, *options)[0] == 1


def test_a_job_leaves_its_error_in_the_file(tmp_path):
    asked = json.dumps({**request_for(tmp_path / "none.onnx").__dict__, "cameras": [1]})
    assert job.main([asked, str(tmp_path / "answer.json")]) == 0
    assert "none.onnx" in json.loads((tmp_path / "answer.json").read_text())["error"]
