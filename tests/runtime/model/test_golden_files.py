"""Models, plans and cards of earlier versions load, and give the answers that they gave."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import segopt
from segopt.model import sidecar
from segopt.model.card import METADATA_KEY, SCHEMA, Card

GOLDEN = Path(__file__).parents[2] / "golden"
MODEL = GOLDEN / "panoptic-schema-1.onnx"
QUERIES = GOLDEN / "queries-schema-2.onnx"
OVER_CANVAS = GOLDEN / "canvas-schema-3.onnx"


def test_the_file_format_is_what_it_was():
    """These are in files on people's disks. A change here is a new schema, beside the old ones."""
    assert METADATA_KEY == "segopt.card"
    assert SCHEMA == 3


@pytest.mark.parametrize("name", ["panoptic-schema-1", "queries-schema-2", "canvas-schema-3"])
def test_a_model_gives_the_answer_that_was_recorded(name):
    answer = np.load(GOLDEN / f"{name}-answer.npz")
    with segopt.load(GOLDEN / f"{name}.onnx", device="cpu") as segmenter:
        result = segmenter(answer["frame"])
    np.testing.assert_array_equal(result.segment_map, answer["segment_map"])
    found = [(s.id, s.category_id, s.is_thing, s.score, s.area) for s in result.segments]
    np.testing.assert_array_equal(np.array(found), answer["segments"])


@pytest.mark.parametrize("text", ["model", "file", "queries", "file of queries", "over the canvas"])
def test_a_card_is_written_as_it_was_read(text):
    written = {
        "model": lambda: onnx.load(MODEL).metadata_props[0].value,
        "file": lambda: (GOLDEN / "card-schema-1.json").read_text(),
        "queries": lambda: onnx.load(QUERIES).metadata_props[0].value,
        "file of queries": lambda: (GOLDEN / "card-schema-2.json").read_text(),
        "over the canvas": lambda: onnx.load(OVER_CANVAS).metadata_props[0].value,
    }[text]()
    card = Card.from_json(written, source="golden")
    assert json.loads(card.to_json()) == json.loads(written)


def test_the_card_of_a_real_network_says_what_it_said():
    card = Card.from_json((GOLDEN / "card-schema-1.json").read_text(), source="golden")
    assert card.mode == "panoptic"
    assert card.networks == {"panoptic": "panoptic_fpn_mobilenet_v3_small"}
    assert card.canvas == (256, 448)
    assert (card.score_threshold, card.overlap_threshold, card.mask_paste) == (0.5, 0.5, "torchvision")
    assert card.mean == (0.485, 0.456, 0.406)
    assert len(card.stuff_classes) == 7
    assert segopt.Category(1, "person", is_thing=True, color=(220, 20, 60)) in card.categories["panoptic"]


def test_a_sidecar_says_what_it_said(tmp_path):
    plan = tmp_path / "panoptic-schema-1.plan"
    plan.write_bytes(b"the plan itself is TensorRT's")
    shutil.copy(GOLDEN / "panoptic-schema-1.plan.json", tmp_path)
    found = sidecar.read(plan)
    assert found.plan.runtime == "tensorrt-rtx"
    assert found.plan.version == "1.7.1.116"
    assert found.plan.compute_capabilities == ("8.0", "8.6", "8.9", "12.0", "12.1")
    assert found.card == segopt.read_card(MODEL) == segopt.read_card(plan)
    assert found.plan.rebuild_command(plan).startswith("segopt build ")
    assert json.loads(found.to_json()) == json.loads((GOLDEN / "panoptic-schema-1.plan.json").read_text())


def test_the_card_of_a_query_network_says_what_it_said():
    card = Card.from_json((GOLDEN / "card-schema-2.json").read_text(), source="golden")
    assert (card.schema, card.mode, card.merge) == (2, "panoptic", "queries")
    assert card.networks == {"panoptic": "eomt_small"}
    assert (card.canvas, card.padding, card.map_scale) == ((640, 640), (0, 0, 0), 1)
    assert (card.query_score, card.mask_share, card.max_detections) == (0.8, 0.8, 100)
    assert len(card.stuff_classes) == 53
    assert card.categories["panoptic"][0] == segopt.Category(1, "person", is_thing=True, color=(220, 20, 60))


def test_the_card_of_a_wrapped_network_says_what_it_said():
    card = segopt.read_card(OVER_CANVAS)
    assert (card.schema, card.mode, card.merge) == (3, "panoptic", "boxes")
    assert (card.mask_paste, card.mask_size, card.resize) == ("canvas", (12, 16), "stretch")
    assert card.padding == (114, 114, 114)
