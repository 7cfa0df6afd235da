"""``segopt info`` prints the card of a model file."""

import dataclasses
import json

import pytest
import typer
from typer.testing import CliRunner

from segopt.cli.info import describe, info
from segopt.errors import CardError
from segopt.model import sidecar
from segopt.model.card import METADATA_KEY, Card, WeightsOrigin
from segopt.model.categories import Category
from segopt.model.sidecar import PlanRecord

THINGS = tuple(Category(i, f"thing{i}", True, (i, 0, 0)) for i in range(1, 81))
STUFF = (Category(100, "sky", False, (70, 130, 180)),)
CARD = Card(
    mode="panoptic",
    networks={"semantic": "lraspp_mobilenet_v3_large", "instance": "maskrcnn_resnet50_fpn_v2"},
    canvas=(480, 640),
    batch=2,
    precision="fp16",
    categories={"panoptic": (*THINGS, *STUFF), "semantic": STUFF, "instance": THINGS},
    weights={
        "semantic": WeightsOrigin("COCO_WITH_VOC_LABELS_V1", "d234d4ea" + "0" * 56),
        "instance": WeightsOrigin("fine[tuned].pth", "73cbd019" + "f" * 56),
    },
    stuff_classes={3: 100},
    max_detections=100,
    versions={"segopt": "0.1.0", "torch": "2.15.0"},
)


@pytest.fixture
def model(tmp_path):
    onnx = pytest.importorskip("onnx")
    tensor = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [tensor], [out])
    proto = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(proto, {METADATA_KEY: CARD.to_json()})
    path = tmp_path / "model.onnx"
    onnx.save(proto, str(path))
    return path


def run(*arguments):
    app = typer.Typer()
    app.command()(info)
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, [str(argument) for argument in arguments])


def test_the_table_says_what_the_model_is(model):
    result = run(model)
    assert result.exit_code == 0
    for text in (
        "panoptic",
        "semantic, instance",
        "lraspp_mobilenet_v3_large",
        "maskrcnn_resnet50_fpn_v2",
        "COCO_WITH_VOC_LABELS_V1",
        "d234d4ea0000",
        "fine[tuned].pth",
        "640 wide, 480 high",
        "fp16",
        "uint8 [2, 480, 640, 3]",
        "semantic: uint8 [2, 480, 640]",
        "boxes: float32 [2, 100, 4]",
        "81 (80 things, 1 stuff)",
        "torch 2.15.0",
    ):
        assert text in result.output, text


def test_long_lists_of_names_are_shortened_with_a_count():
    rows = dict(describe(CARD, 1))
    assert "thing11, and 70 more" in rows["panoptic classes"]
    assert rows["semantic classes"] == "1 (0 things, 1 stuff): sky"


def test_json_is_the_card(model):
    result = run(model, "--json")
    assert result.exit_code == 0
    assert Card.from_json(result.output, source="output") == CARD
    assert json.loads(result.output)["mode"] == "panoptic"


def test_a_plan_is_described_by_its_sidecar(tmp_path):
    plan = tmp_path / "model.plan"
    record = PlanRecord(
        sha256="0" * 64,
        runtime="tensorrt",
        version="10.3.0",
        gpu="Orin",
        compute_capabilities=("8.7",),
        hardware_compatible=False,
        version_compatible=True,
        half_share=0.9876,
        segopt="0.1.0",
        model="street.onnx",
    )
    made = sidecar.Sidecar(CARD, record)
    sidecar.write(plan, b"\0" * 2_500_000, made)
    result = run(plan)
    assert result.exit_code == 0
    for words in (
        "2.5 MB",
        "TensorRT 10.3.0 or later, segopt",
        "Orin, compute capability 8.7",
        "98.8%",
        "street.onnx",
    ):
        assert words in result.output, result.output
    assert run(plan, "--json").output == made.to_json() + "\n"


def test_each_mode_has_the_outputs_and_thresholds_that_it_needs():
    semantic = dict(describe(dataclasses.replace(CARD, mode="semantic"), 1))
    instance = dict(describe(dataclasses.replace(CARD, mode="instance"), 1))
    assert "score threshold" not in semantic
    assert semantic["output"].startswith("semantic")
    assert "score threshold" in instance
    assert "stuff area" not in instance


@pytest.mark.parametrize("content", [None, b"", b"not a model at all"])
def test_a_file_without_a_card_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "odd.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CardError, match=r"odd\.onnx"):
        info(path)
