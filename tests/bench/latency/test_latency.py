"""``segopt bench``: who is timed, on what, and what the report says of it. No test looks at a time."""

import dataclasses
import importlib.util
import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import tiny
from segopt.errors import EngineError, UsageError
from segopt.model.reading import read_card
from segopt.segmenter import load
from segopt.sources import open_source
from segopt.thresholds import Thresholds
from segopt_bench.footprint import eager_run
from segopt_bench.latency import contenders, pictures
from segopt_bench.latency.benchmark import Request, run_benchmark
from segopt_bench.latency.contenders import check_inference_precision, group_engines, inference_precision_of
from segopt_bench.latency.layers import profile_layers, summarize
from segopt_bench.latency.rounds import class_map, count_objects
from segopt_bench.pytorch.eager import EagerSegmenter
from segopt_bench.pytorch.network import load_trained
from segopt_bench.reporting.spread import Spread, paired_ratio
from segopt_bench.reporting.stages import STAGES, time_call
from segopt_bench.scale.video import write_long_video
from segopt_export.exporter import export
from segopt_export.request import ExportRequest
from segopt_export.weights.loading import WeightsRequest

LEAN = os.environ.get("SEGOPT_LEAN_PYTHON")
SHORT = ["--rounds", 3, "--warmup", 1, "--pictures", 2, "--device", "cpu"]


@pytest.fixture(scope="module")
def instance_model(exported):
    """A real small detector, 64x96."""
    return exported("instance", canvas=(64, 96))


@pytest.fixture(scope="module")
def fusion_model(tmp_path_factory):
    """The same detector with a random semantic network, two frames at once."""
    path = tmp_path_factory.mktemp("bench") / "panoptic.onnx"
    networks = {"semantic": "lraspp_mobilenet_v3_large", "instance": "maskrcnn_mobilenet_v3_small_fpn"}
    weights = {"semantic": WeightsRequest("random"), "instance": WeightsRequest("demo")}
    asked = ExportRequest("panoptic", networks=networks, weights=weights, canvas=(64, 96), batch=2, output=path)
    made = export(asked).path
    # All of the random network's classes are stuff, so that there is something to merge.
    return with_card(made, stuff_classes={i: 100 + i for i in range(1, 21)}, stuff_area=20)


def with_card(path, **changes):
    import onnx

    from segopt.model.card import METADATA_KEY
    from segopt.model.categories import Category
    from segopt.model.reading import read_card

    model, card = onnx.load(path), read_card(path)
    stuff = tuple(Category(i, str(i), False, (0, 0, 0)) for i in changes["stuff_classes"].values())
    views = {**card.categories, "panoptic": (*card.categories["panoptic"], *stuff)}
    card = dataclasses.replace(card, categories=views, **changes)
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.save(model, path)
    return path


def eager_of(segmenter):
    networks = {branch: each.model for branch, each in load_trained(segmenter.card, {}).items()}
    return EagerSegmenter(segmenter.card, segmenter.thresholds, networks)


def scenes(count, size):
    return pictures.scene_pictures(count, size).frames


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 96), (90, 80), (50, 200)], ids=["as the canvas", "higher", "wider"])
def test_eager_and_engine_find_the_same_objects(instance_model, size):
    with load(instance_model, "cpu", 0.05) as engine:
        (own,), (other,) = (time_call(each, scenes(1, size))[1] for each in (engine, eager_of(engine)))
    assert len(own) == len(other) > 3
    np.testing.assert_allclose(own.boxes, np.clip(other.boxes, 0, [size[1], size[0]] * 2), atol=0.05)
    np.testing.assert_allclose(own.scores, other.scores, atol=1e-3)
    np.testing.assert_array_equal(own.labels, other.labels)
    for i in range(len(own)):
        assert np.mean(own.mask(i) != other.mask(i)) < 0.01


@pytest.mark.slow
def test_eager_and_engine_give_the_same_panoptic_maps(fusion_model):
    frames = scenes(2, (128, 192))
    with load(fusion_model, "cpu") as engine:
        own, other = (time_call(each, frames)[1] for each in (engine, eager_of(engine)))
    for a, b in zip(own, other, strict=True):
        assert [s.category_id for s in a.segments] == [s.category_id for s in b.segments]
        assert len(a.segments) > 2
        assert np.mean(class_map(a) == class_map(b)) > 0.995


@pytest.mark.slow
def test_a_report_has_everybody_with_every_round(instance_model, segopt_cli, tmp_path):
    file, folder = tmp_path / "figures.json", tmp_path / "report"
    status, out, err = segopt_cli("bench", "--engine", instance_model, *SHORT, "--json", file, "--report", folder)
    assert status == 0, err
    document = json.loads(file.read_text())
    (group,) = document["groups"]
    eager, engine = group["contenders"]
    assert "PyTorch" in eager["name"]
    assert "eager" in eager["name"]
    assert "ONNX Runtime" in engine["name"]
    assert engine["file"] == str(instance_model)
    for each in (eager, engine):
        assert len(each["rounds"]) == document["rounds"] == 3
        for round_ in each["rounds"]:
            assert sum(round_[stage] for stage in STAGES) == pytest.approx(round_["total"])
        assert each["total"]["p5"] <= each["total"]["median"] <= each["total"]["p95"]
        assert each["name"] in out
    assert engine["agreement"] > 0.99
    assert eager["times_as_fast"]["median"] == 1
    assert [missing["name"] for missing in group["missing"]] == ["PyTorch eager, fp16"]
    page = (folder / "report.md").read_text()
    assert eager["name"] in page
    assert engine["name"] in page
    plots = [line.split("(")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert len(plots) == 2
    for plot in plots:
        assert cv2.imread(str(folder / plot)) is not None


def test_what_the_machine_does_not_tell_is_not_invented(semantic_engine, segopt_cli, tmp_path):
    status, _, err = segopt_cli("bench", "--engine", semantic_engine, *SHORT, "--json", tmp_path / "f.json")
    assert status == 0, err
    document = json.loads((tmp_path / "f.json").read_text())
    if not Path("/sys/devices/system/cpu/cpu0/cpufreq").exists():
        assert document["conditions"]["CPU clocks"] == "not available"
    assert document["machine"]["versions"]["numpy"] == np.__version__
    assert document["timed_region"]


def test_a_network_that_nobody_has_is_missing_with_the_reason(semantic_engine, segopt_cli):
    status, out, _ = segopt_cli("bench", "--engine", semantic_engine, *SHORT)
    assert status == 0
    assert "missing: PyTorch eager: the semantic network tiny is of your own code" in out
    assert "times as fast" not in out


def test_without_torch_the_engine_alone_is_timed(panoptic_engine, segopt_cli, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))
    status, out, _ = segopt_cli("bench", "--engine", panoptic_engine, *SHORT)
    assert status == 0
    assert "missing: PyTorch eager: torch not installed: pip install 'segopt[bench]'" in out
    assert "ONNX Runtime" in out


@pytest.mark.skipif(
    not LEAN, reason="SEGOPT_LEAN_PYTHON names no Python with segopt[cpu] alone; `make test` sets it"
)
def test_bench_works_where_torch_is_absent(panoptic_engine):
    command = [Path(LEAN).with_name("segopt"), "bench", "--engine", panoptic_engine, *map(str, SHORT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch and torchvision not installed" in done.stdout


def test_engines_of_one_job_stand_in_one_table_and_are_told_apart(tmp_path, segopt_cli):
    first, second = (tiny.semantic_engine(tmp_path / f"{name}.onnx") for name in "ab")
    other = tiny.semantic_engine(tmp_path / "c.onnx", canvas=(32, 32))
    assert [group.engines for group in group_engines([first, other, second])] == [(first, second), (other,)]
    status, out, _ = segopt_cli("bench", "--engine", first, second, other, *SHORT)
    assert status == 0
    assert str(second) in " ".join(out.split())
    assert out.count("semantic: tiny, canvas") == 2


def test_accuracy_stands_beside_speed(panoptic_engine, tmp_path, segopt_cli):
    file = tmp_path / "f.json"
    status, out, err = segopt_cli(
        "bench", "--engine", panoptic_engine, *SHORT, "--accuracy", "--scenes", 2, "--json", file
    )
    assert status == 0, err
    (measured,) = json.loads(file.read_text())["groups"][0]["contenders"]
    assert 0 <= measured["accuracy"]["PQ"] <= 1
    assert "PQ" in out
    assert "2 synthetic scenes" in out


def test_classes_that_no_scene_has_leave_accuracy_out(semantic_engine, segopt_cli):
    status, out, _ = segopt_cli("bench", "--engine", semantic_engine, *SHORT, "--accuracy", "--scenes", 2)
    assert status == 0
    assert "no accuracy: " in out


def test_pictures_of_the_users_are_letterboxed_and_that_is_said(semantic_engine, tmp_path, segopt_cli):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((48, 48, 3), 80 * i, np.uint8))
    (folder / "broken.png").write_bytes(b"nothing")
    status, out, _ = segopt_cli("bench", "--engine", semantic_engine, *SHORT, "--pictures", 9, "--data", folder)
    assert status == 0
    assert "48x48, which fill at least 75% of the canvas; the rest is padding" in out
    assert "3 frames of pictures" in out
    assert "broken.png" in out


def test_a_batch_takes_the_frames_in_turn():
    frames = tuple(np.full((1, 1, 3), i, np.uint8) for i in range(3))
    batches = pictures.Pictures(frames, "three").batches(2)
    assert [[int(frame[0, 0, 0]) for frame in batch] for batch in batches] == [[0, 1], [1, 2], [2, 0]]


def test_suppression_that_did_not_converge_is_said(tmp_path, segopt_cli):
    engine = tiny.instance_engine(tmp_path / "i.onnx", converged=False)
    status, out, _ = segopt_cli("bench", "--engine", engine, *SHORT)
    assert status == 0
    assert "on 100% of the frames the model's suppression did not converge" in out


def test_layers_are_shares_of_the_whole(panoptic_engine, segopt_cli):
    image = np.zeros((1, *tiny.CANVAS, 3), np.uint8)
    profile = profile_layers(panoptic_engine, [image, image])
    assert sum(share.share for share in profile.operators) == pytest.approx(1)
    assert {"ReduceMean", "Greater"} <= {share.operator for share in profile.nodes}
    status, out, _ = segopt_cli("bench", "--engine", panoptic_engine, *SHORT, "--layers")
    assert status == 0
    assert "ReduceMean" in out


def test_the_first_inference_is_no_part_of_a_profile():
    events = [*inference(0, ("a", "Conv", 9_000_000)), *inference(50, ("a", "Conv", 1000))]
    profile = summarize([*events, *inference(60, ("a", "Conv", 3000))], runs=2, most=5)
    assert profile.milliseconds == 2
    assert [(share.name, share.calls) for share in profile.operators] == [("Conv", 1)]


def inference(begin, *nodes):
    """Events of one inference, as ONNX Runtime writes them."""
    kernels = [
        {"cat": "Node", "name": f"{name}_kernel_time", "ts": begin + i, "dur": dur, "args": {"op_name": operator}}
        for i, (name, operator, dur) in enumerate(nodes, start=1)
    ]
    return [*kernels, {"cat": "Session", "name": "model_run", "ts": begin, "dur": 9}]


def test_a_node_in_a_loop_counts_as_often_as_it_runs_and_the_loop_itself_does_not():
    turns = [("in", "Conv", 1000), ("in", "Conv", 2000), ("loop", "Loop", 3100), ("out", "Relu", 500)]
    profile = summarize([*inference(0, *turns), *inference(50, *turns[1:])], runs=1, most=5)
    assert [(share.name, share.milliseconds) for share in profile.nodes] == [("in", 2.0), ("out", 0.5)]
    assert profile.milliseconds == 2.5


def test_layers_of_a_plan_say_where_to_look(tmp_path):
    with pytest.raises(EngineError, match=r"x\.plan: layers are profiled in ONNX Runtime; .*trtexec"):
        profile_layers(tmp_path / "x.plan", [])


def test_ratios_are_taken_round_by_round():
    # The second round was slow for both: the ratio does not notice.
    assert paired_ratio([10, 40, 10], [5, 20, 5]) == Spread(2, 2, 2)


def test_results_of_all_kinds_count_and_have_class_maps(tmp_path):
    frame = np.full((*tiny.CANVAS, 3), 200, np.uint8)
    with load(tiny.panoptic_engine(tmp_path / "p.onnx"), "cpu") as engine:
        result = engine(frame)
    assert count_objects(result) == 3
    assert set(np.unique(class_map(result))) == {1, 3, tiny.SKY.id}
    with load(tiny.instance_engine(tmp_path / "i.onnx"), "cpu") as engine:
        result = engine(frame)
    assert count_objects(result) == 2
    assert class_map(result)[10, 10] == 1
    assert class_map(result)[0, 40] == -1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "no.onnx"], "no.onnx: no such file"),
        (["--engine", "{engine}", "{engine}"], "is named twice"),
        (["--engine", "{engine}", "--data", "nowhere"], "nowhere: does not exist"),
        (["--engine", "{engine}", "--json", "{engine}/x.json"], "cannot be written"),
        (["--engine", "{engine}", "--rounds", "0"], "Invalid value for '--rounds'"),
        (["--engine", "{engine}", "--inference-precision", "bf16"], "no model here has half precision in it"),
        (["--engine", "{engine}", "--inference-precision", "f32"], "is OpenVINO's, and the device is auto"),
    ],
)
def test_bad_input_is_one_line(semantic_engine, segopt_cli, arguments, message):
    status, out, err = segopt_cli("bench", *(word.format(engine=semantic_engine) for word in arguments))
    assert status != 0
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err


def test_bf16_is_for_models_in_half_alone(semantic_engine):
    card = read_card(semantic_engine)
    half = dataclasses.replace(card, precision="fp16")
    assert [inference_precision_of(each, "bf16") for each in (card, half, card)] == [None, "bf16", None]
    assert [inference_precision_of(each, "f32") for each in (card, half)] == ["f32", "f32"]
    assert inference_precision_of(half, None) is None
    check_inference_precision([card, half, card], "bf16")
    with pytest.raises(UsageError, match="no model here has half precision"):
        check_inference_precision([card, card], "bf16")


def test_an_engine_without_a_card_is_named(tmp_path, segopt_cli):
    import onnx

    path = tiny.semantic_engine(tmp_path / "bare.onnx")
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    status, _, err = segopt_cli("bench", "--engine", path)
    assert status == 1
    assert "bare.onnx: an ONNX file, but not one of segopt's" in err


def test_a_report_without_matplotlib_is_refused_before_anything_is_timed(semantic_engine, segopt_cli, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    status, out, err = segopt_cli("bench", "--engine", semantic_engine, "--report", "x")
    assert (status, out) == (1, "")
    assert "matplotlib, which is not installed: pip install 'segopt[bench]'" in err
    assert not Path("x").exists()


def test_rounds_and_pictures_are_positive(semantic_engine):
    with pytest.raises(UsageError, match="pictures is 0"):
        run_benchmark(Request([semantic_engine], pictures=0))


@pytest.mark.slow
def test_weights_that_differ_are_no_comparison(instance_model, tmp_path):
    file = tmp_path / "other.pth"
    with load(instance_model, "cpu") as engine:
        (trained,) = load_trained(engine.card, {}).values()
        torch.save(trained.model.state_dict(), file)
        found, missing = contenders.eager_contenders(
            engine.card, Thresholds(0.5, 0.5, 1), "cpu", contenders.EagerOptions({"instance": file})
        )
    assert found == []
    assert "other.pth: are not the instance weights that the model was exported from" in missing[0].reason


@pytest.mark.slow
def test_the_eager_job_writes_what_segopt_run_writes(instance_model, tmp_path):
    video = tmp_path / "v.mp4"
    write_long_video(video, (64, 96), frames=3)
    assert eager_run.main(["--engine", str(instance_model), "--output", str(tmp_path / "eager"), str(video)]) == 0
    with open_source(str(tmp_path / "eager" / "v-overlay.mp4")) as made:
        assert sum(1 for _ in made) == 3


@pytest.mark.slow
def test_a_contender_that_breaks_is_missing_and_the_others_are_timed(instance_model, segopt_cli, monkeypatch):
    # As where there is no C++ compiler for torch.compile.
    def no_compiler(*_):
        raise RuntimeError("No working C++ compiler found\nmore lines")

    monkeypatch.setattr(torch, "compile", lambda _network: no_compiler)
    status, out, _ = segopt_cli("bench", "--engine", instance_model, *SHORT, "--compile")
    assert status == 0
    assert "missing: torch.compile: it fails: No working C++ compiler found" in out
    assert "eager (CPU), fp32" in out
