"""`segopt export` from the command line to a file that the runtime runs."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

import lively
import segopt
import segopt_export
from segopt.errors import ExportError
from segopt.model.tensors import MASK_LOOP
from segopt_export import exporter
from segopt_export.networks.table import NETWORKS
from segopt_export.onnx_file import writing as onnx_file
from segopt_export.weights.random import enliven

LRASPP = "lraspp_mobilenet_v3_large"
RCNN = "maskrcnn_mobilenet_v3_small_fpn"
DATA_DEPENDENT = {"NonZero", "NonMaxSuppression", "RoiAlign", "Loop", "If", "Scan", "Unique", "Compress"}


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch, tmp_path):
    """Every test starts in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def panoptic_file(tmp_path_factory):
    """A fusion with stuff: a semantic network of five named classes and a detector of three, on a small canvas."""
    folder = tmp_path_factory.mktemp("panoptic")
    for name, count in ((LRASPP, 5), (RCNN, 3)):
        torch.manual_seed(0)
        model = NETWORKS[name].build(count)
        exporter_weights(model)
        torch.save(model.state_dict(), folder / f"{name}.pth")
    names = [{"name": "void", "isthing": 0}, *({"name": n, "isthing": 0} for n in ("road", "sky", "grass")), "car"]
    (folder / "semantic.json").write_text(json.dumps(names))
    (folder / "instance.json").write_text(json.dumps(["car", "person"]))
    file = folder / "panoptic.onnx"
    command = [
        sys.executable,
        "-m",
        "segopt",
        "export",
        "--mode",
        "panoptic",
        "--size",
        "128x160",
        "--no-build",
        "--output",
        file,
    ]
    command += ["--semantic", LRASPP, "--semantic-weights", folder / f"{LRASPP}.pth"]
    command += ["--semantic-classes", folder / "semantic.json", "--instance-classes", folder / "instance.json"]
    command += ["--instance", RCNN, "--instance-weights", folder / f"{RCNN}.pth", "--max-detections", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return file, done.stdout


def exporter_weights(model):
    enliven(model, size=(128, 160))


@pytest.mark.slow
def test_the_report_says_what_was_made(panoptic_file):
    file, report = panoptic_file
    for words in (
        str(file),
        "MB",
        "fp32",
        "uint8    [1, 128, 160, 3]",
        "[1, 20, 28, 28]",
        "parity",
        "3 semantic classes",
    ):
        assert words in report, report


@pytest.mark.slow
def test_the_file_is_whole_and_static(panoptic_file):
    file, _ = panoptic_file
    assert [path.name for path in file.parent.glob("*onnx*")] == ["panoptic.onnx"]
    model = onnx.load(file, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    # Of masks, in a file for a CPU; its shapes are fixed.
    assert [node.name for node in model.graph.node if node.op_type in DATA_DEPENDENT] == [MASK_LOOP]
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    shaped = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    for value in shaped:
        assert all(side.HasField("dim_value") for side in value.type.tensor_type.shape.dim), value.name
    # Nothing of the machine that exported it.
    data = file.read_bytes()
    for path in (str(Path(exporter.__file__).parent), "site-packages"):
        assert path.encode() not in data


@pytest.mark.slow
def test_the_card_says_all(panoptic_file):
    file, _ = panoptic_file
    card = segopt.read_card(file)
    assert (card.mode, card.canvas, card.batch, card.max_detections) == ("panoptic", (128, 160), 1, 20)
    assert card.networks == {"semantic": LRASPP, "instance": RCNN}
    assert [c.name for c in card.categories["panoptic"]] == ["car", "person", "road", "sky", "grass"]
    assert card.stuff_classes == {1: 3, 2: 4, 3: 5}
    assert card.weights["instance"].name == f"{RCNN}.pth"
    assert len(card.weights["instance"].sha256) == 64
    assert {"segopt", "torch", "torchvision", "onnx"} <= set(card.versions)


@pytest.mark.slow
def test_the_runtime_runs_it_in_every_view(panoptic_file):
    file, _ = panoptic_file
    (picture,) = lively.pictures(1, (200, 300)).numpy()
    with segopt.load(file, stuff_area=100, score_threshold=0.2) as segmenter:
        result = segmenter(picture)
    assert result.segment_map.shape == (200, 300)
    assert {s.is_thing for s in result.segments} == {True, False}
    areas = np.bincount(result.segment_map.ravel(), minlength=len(result.segments) + 1)
    assert [s.area for s in result.segments] == areas[1:].tolist()
    with segopt.load(file, mode="semantic") as segmenter:
        assert segmenter(picture).classes.shape == (200, 300)
    with segopt.load(file, mode="instance", score_threshold=0.2) as segmenter:
        assert 0 < len(segmenter(picture)) <= 20


@pytest.mark.slow
def test_a_frame_that_fills_the_canvas_gets_torchvisions_answer(panoptic_file):
    file, _ = panoptic_file
    model = NETWORKS[RCNN].build(3)
    model.load_state_dict(torch.load(file.parent / f"{RCNN}.pth", weights_only=True))
    image = lively.pictures(1, (128, 160), seed=3)
    (expected,) = lively.torchvision_detections(model, image)
    with segopt.load(file, mode="instance", score_threshold=0.05) as segmenter:
        result = segmenter(image[0].numpy())
    n = len(result)
    assert 0 < n <= 20
    np.testing.assert_allclose(result.boxes, expected.boxes[:n].numpy(), atol=0.05)
    np.testing.assert_allclose(result.scores, expected.scores[:n].numpy(), atol=1e-4)
    assert result.labels.tolist() == expected.labels[:n].tolist()


@pytest.mark.slow
def test_no_other_option_than_the_mode_is_needed(segopt_cli, monkeypatch):
    """Defaults are complete; on a small canvas, since the default one takes a minute on two cores."""
    monkeypatch.setitem(exporter.DEFAULT_CANVAS, "semantic", (64, 96))
    status, out, _ = segopt_cli("export", "--mode", "semantic", "--weights", "random", "--no-build")
    file = Path("engines/semantic-deeplabv3_mobilenet_v3_large-random-fp32.onnx")
    assert status == 0
    assert "RANDOM weights" in out
    assert file.exists()
    cv2.imwrite("frame.png", lively.pictures(1, (50, 70))[0].numpy())
    status, out, _ = segopt_cli("run", "--engine", file, "frame.png", "--output", "out")
    assert status == 0
    assert any(path.suffix in (".jpg", ".png") for path in Path("out").iterdir())


@pytest.mark.parametrize(
    ("weights", "branches"),
    [
        (["--weights", "demo"], {"panoptic"}),
        (["--semantic-weights", "demo", "--weights", "demo"], {"semantic", "instance"}),
    ],
    ids=["one", "fusion"],
)
def test_the_panoptic_demo_is_one_network_unless_one_of_two_is_named(segopt_cli, monkeypatch, weights, branches):
    asked = []

    def graph(trained, *_):
        asked.append(set(trained))
        raise ExportError("enough")

    monkeypatch.setattr(exporter, "build_graph", graph)
    assert_refused(segopt_cli("export", "--mode", "panoptic", *weights, "--no-build"), "enough")
    assert asked == [branches]


@pytest.mark.slow
@pytest.mark.parametrize("roi_align", [None, "gather"])
def test_boxes_are_read_as_asked_and_as_many_as_asked(tmp_path, roi_align):
    made = segopt_export.export(
        "instance",
        network="maskrcnn_mobilenet_v3_small_fpn",
        weights="random",
        size=(128, 160),
        target="tensorrt",
        roi_align=roi_align,
        proposals=37,
        max_detections=10,
        candidates=50,
        suppression_steps=5,
        output=tmp_path / "a.onnx",
    )
    graph = onnx.shape_inference.infer_shapes(onnx.load(made.path)).graph
    # Twice: for boxes and for masks.
    assert [node.op_type for node in graph.node].count("GridSample") == (0 if roi_align == "gather" else 2)
    sides = {tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in graph.value_info}
    assert (1, 37, 4) in sides
    assert made.card.settings["instance"]["rpn_post_nms_top_n_test"] == 37


def test_default_weights_without_a_network_say_what_to_do(segopt_cli, monkeypatch):
    monkeypatch.setenv("SEGOPT_WEIGHTS_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", "hub")
    assert_refused(segopt_cli("export", "--mode", "panoptic"), "cannot be downloaded", "--weights random")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mode", "both"], ["--mode both", "panoptic"]),
        (["--mode", "semantic", "--network", "fcn_resnet5"], ["fcn_resnet5", "did you mean fcn_resnet50"]),
        (["--mode", "semantic", "--size", "500x640"], ["500", "multiple of 32", "try 512"]),
        (["--mode", "semantic", "--size", "640"], ["--size 640", "800x1344"]),
        (["--mode", "semantic", "--size", "0x64"], ["height 0", "32"]),
        (["--mode", "semantic", "--batch", "0"], ["batch is 0"]),
        (["--mode", "semantic", "--target", "npu"], ["--target npu", "tensorrt"]),
        (["--mode", "instance", "--max-detections", "5000"], ["5000", "2000"]),
        (["--mode", "instance", "--candidates", "4000"], ["4000", "3840"]),
        (["--mode", "instance", "--proposals", "0"], ["proposals is 0", "3840"]),
        (["--mode", "instance", "--roi-align", "plugin"], ["--roi-align plugin", "grid, gather"]),
        (["--mode", "instance", "--suppression-steps", "0"], ["suppression steps is 0"]),
        (["--mode", "semantic", "--weights", "nowhere.pth"], ["nowhere.pth", "no such weights file"]),
        (["--mode", "semantic", "--semantic", LRASPP], ["--semantic", "--network"]),
        (["--mode", "panoptic", "--network", LRASPP], ["--network", "--instance"]),
        (["--mode", "panoptic", "--weights", "w.pth"], ["w.pth", "--semantic-weights"]),
        (["--mode", "semantic", "--weights", "random", "--classes", "c.json"], ["c.json", "random"]),
    ],
)
def test_bad_requests_are_refused_in_one_line(segopt_cli, options, words):
    assert_refused(segopt_cli("export", *options), *words)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
def test_a_fusion_needs_to_know_what_is_stuff(segopt_cli):
    torch.save(NETWORKS[LRASPP].build(4).state_dict(), "w.pth")
    options = ["--semantic", LRASPP, "--semantic-weights", "w.pth", "--instance-weights", "random"]
    assert_refused(segopt_cli("export", "--mode", "panoptic", *options), "w.pth", "--semantic-classes")


def test_an_unwritable_output_is_refused(segopt_cli):
    Path("file").write_text("")
    options = ["--mode", "semantic", "--network", LRASPP, "--weights", "random", "--size", "32x32"]
    assert_refused(segopt_cli("export", *options, "--output", "file/model.onnx"), "file")


def test_a_failed_check_leaves_an_older_file_alone(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")

    def verify(file):
        assert file != path
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(segopt.SegoptError, match=r"model\.onnx.*No space left"):
        onnx_file.write(identity_model(), path, verify=verify)
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def identity_model():
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def assert_refused(outcome, *words):
    status, out, err = outcome
    assert status in (1, 2)
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith("done ")]
    assert len(lines) == 1, err
    assert lines[0].startswith("segopt: error: ")
    assert "Traceback" not in err + out
    for word in words:
        assert word in lines[0], lines[0]
