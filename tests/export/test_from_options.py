"""Plain options become a request as they do on the command line, and the function exports what the verb does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import segopt
import segopt_export
from segopt.errors import ExportError, UsageError
from segopt_export.from_options import request_of
from segopt_export.request import ExportRequest
from segopt_export.static.limits import DetectionLimits
from segopt_export.weights.loading import WeightsRequest


def test_a_mode_alone_leaves_all_to_the_exporter():
    assert request_of("semantic") == ExportRequest("semantic", weights={"semantic": WeightsRequest()})
    both = {"semantic": WeightsRequest(), "instance": WeightsRequest()}
    assert request_of("panoptic") == ExportRequest("panoptic", weights=both)


def test_a_fusion_has_two_networks_with_weights_and_classes_of_their_own():
    request = request_of(
        "panoptic",
        semantic="fcn_resnet50",
        semantic_weights=Path("street.pth"),
        semantic_classes="street.json",
        instance="maskrcnn_resnet50_fpn",
        instance_weights="random",
        frozen_norm_eps=1e-5,
    )
    assert request.networks == {"semantic": "fcn_resnet50", "instance": "maskrcnn_resnet50_fpn"}
    assert request.weights == {
        "semantic": WeightsRequest("street.pth", Path("street.json"), 1e-5),
        "instance": WeightsRequest("random", None, 1e-5),
    }


def test_weights_that_need_no_file_are_for_both():
    assert {w.spec for w in request_of("panoptic", weights="random").weights.values()} == {"random"}
    mixed = request_of("panoptic", weights="random", semantic_weights="demo")
    assert {branch: w.spec for branch, w in mixed.weights.items()} == {"semantic": "demo", "instance": "random"}


@pytest.mark.parametrize("options", [{"network": "panoptic_fpn_resnet50"}, {"weights": "demo"}])
def test_one_network_can_answer_both(options):
    assert list(request_of("panoptic", **options).weights) == ["panoptic"]


def test_modules_settings_and_keys_reach_their_branches():
    things, stuff = nn.Identity(), nn.Identity()
    request = request_of(
        "panoptic",
        semantic_module=stuff,
        semantic_settings={"image_mean": [0.5, 0.5, 0.5]},
        instance_module=things,
        instance_settings="model.json",
        instance_weights="mine.pth",
        instance_weights_key="model_ema",
    )
    assert request.modules["semantic"] is stuff
    assert request.modules["instance"] is things
    assert request.settings == {"semantic": {"image_mean": [0.5, 0.5, 0.5]}, "instance": Path("model.json")}
    assert request.weights["instance"] == WeightsRequest("mine.pth", key="model_ema")
    assert request.networks == {}
    assert list(request_of("panoptic", module=things).modules) == ["panoptic"]


def test_numbers_paths_and_pictures_reach_their_places():
    pictures = [np.zeros((8, 8, 3), np.uint8)]
    request = request_of(
        "instance",
        size=(64, np.int64(96)),
        batch=2,
        max_detections=10,
        candidates=300,
        suppression_steps=7,
        precision="fp16",
        calibration=pictures,
        target="tensorrt",
        output="out/e.onnx",
    )
    assert request.canvas == (64, 96)
    assert request.limits == DetectionLimits(10, 300, 7)
    assert (request.batch, request.precision, request.target) == (2, "fp16", "tensorrt")
    assert request.calibration is pictures
    assert request.output == Path("out/e.onnx")
    request = request_of("semantic", precision="int8", calibration=Path("in"), int8_loss=1)
    assert (request.calibration, request.int8_loss) == ("in", 1.0)
    assert request_of("semantic", precision="int8").int8_loss is None


@pytest.mark.parametrize(("size", "canvas"), [((64, 96), (64, 96)), ([64, 96], (64, 96)), ("64x96", (64, 96))])
def test_a_size_is_height_and_width(size, canvas):
    assert request_of("semantic", size=size).canvas == canvas


@pytest.mark.parametrize(
    ("mode", "options", "words"),
    [
        ("panoramic", {}, "--mode panoramic is unknown; give one of semantic, instance, panoptic"),
        ("semantic", {"precision": "fp8"}, "--precision fp8 is unknown"),
        ("semantic", {"target": "gpu"}, "--target gpu is unknown"),
        ("semantic", {"calibration": "in"}, "--calibration is for --precision fp16 and int8"),
        ("semantic", {"int8_loss": 1.0}, "--int8-loss is for --precision int8"),
        *(
            ("semantic", {"precision": "int8", "int8_loss": loss}, f"--int8-loss {loss}: give points of agreement")
            for loss in (0, -1.0, 101, float("nan"), True)
        ),
        ("semantic", {"size": 64}, r"--size 64 is no size; give \(height, width\)"),
        ("semantic", {"size": (64.0, 64)}, r"--size \(64.0, 64\) is no size"),
        ("semantic", {"size": (64, 64, 3)}, "is no size"),
        ("semantic", {"size": "64"}, "--size 64 is no size; give HEIGHTxWIDTH"),
        ("semantic", {"instance": "x"}, "--instance is for panoptic exports; a semantic export takes --network"),
        ("semantic", {"semantic_weights": "x"}, "--semantic-weights is for panoptic exports; .* takes --weights"),
        ("panoptic", {"classes": "c.json"}, "--classes does not say which network"),
        ("panoptic", {"weights": "w.pth"}, "--weights w.pth is one file for two networks"),
        ("panoptic", {"network": "fcn_resnet50"}, "--network fcn_resnet50 answers one half"),
        (
            "panoptic",
            {"network": "panoptic_fpn_resnet50", "semantic_classes": Path("c.json")},
            "--semantic-classes is for a panoptic export of two networks",
        ),
    ],
)
def test_options_that_are_unknown_or_do_not_go_together_are_refused_in_one_line(mode, options, words):
    with pytest.raises(UsageError, match=words) as caught:
        segopt_export.export(mode, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"network": "fcn_resnet5"}, "fcn_resnet50"),
        ({"size": (64, 65)}, "width 65 is not a multiple of 32"),
        ({"weights": "nowhere.pth"}, r"nowhere\.pth"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match=words) as caught:
        segopt_export.export("semantic", **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_function_exports_a_checked_file_that_loads(tmp_path):
    made = segopt_export.export("semantic", weights="demo", size=(64, 96), output=str(tmp_path / "e.onnx"))
    assert isinstance(made, segopt_export.Exported)
    assert made.path == tmp_path / "e.onnx"
    assert (made.card.canvas, made.card.precision, made.card.target) == ((64, 96), "fp32", "cpu")
    assert [figure.name for figure in made.figures] == ["label map", "logits"]
    with segopt.load(made.path) as segmenter:
        assert segmenter.card == made.card
        assert segmenter(np.zeros((64, 96, 3), np.uint8)).classes.shape == (64, 96)


def test_importing_segopt_export_waits_with_pytorch():
    code = "import sys, segopt_export; assert not {'torch', 'onnx', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_pytorch_it_says_what_to_install():
    code = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else found(name, *rest)
from segopt.errors import ExportError
try:
    from segopt_export import export
except ExportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout == "export needs torch, which is not installed: pip install 'segopt[export]'\n"


def test_it_has_what_it_names():
    for name in segopt_export.__all__:
        assert getattr(segopt_export, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        segopt_export.exprot  # noqa: B018
