"""docs/card.schema.json: real cards and sidecars fit it, broken ones do not, and it knows every member."""

import dataclasses
import json
from pathlib import Path

import pytest

import tiny
from segopt.model.card import Card
from segopt.model.categories import Category
from segopt.model.int8_choice import Int8Choice, Int8Point
from segopt.model.reading import read_card
from segopt.model.sidecar import PlanRecord

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
SCHEMA = json.loads((ROOT / "docs" / "card.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
CARDS = ["card-schema-1.json", "card-schema-2.json", "panoptic-schema-1.plan.json"]


def golden(name):
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def problems(card):
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(card)]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", CARDS)
def test_golden_cards_fit(name):
    assert problems(golden(name)) == []


@pytest.mark.parametrize("name", ["panoptic-schema-1", "queries-schema-2", "canvas-schema-3"])
def test_cards_of_golden_models_fit(name):
    assert problems(json.loads(read_card(GOLDEN / f"{name}.onnx").to_json())) == []


@pytest.mark.parametrize("make", [tiny.semantic_engine, tiny.panoptic_engine], ids=lambda make: make.__name__)
def test_cards_of_this_version_fit(make, tmp_path):
    assert problems(json.loads(read_card(make(tmp_path / "e.onnx")).to_json())) == []


def test_a_card_that_says_how_its_layers_were_chosen_fits(tmp_path):
    card = read_card(tiny.semantic_engine(tmp_path / "e.onnx"))
    choice = Int8Choice(1.0, 0.5, 4, 3, 4, 0.9, (Int8Point(2, 0.4, 0.1), Int8Point(3, 0.9, 0.5)))
    said = json.loads(dataclasses.replace(card, precision="int8", int8=choice).to_json())
    assert problems(said) == []
    said["int8"]["lost"] = 101
    assert problems(said)


@pytest.mark.slow
def test_the_card_of_an_export_fits(exported):
    assert problems(json.loads(read_card(exported("panoptic")).to_json())) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("card-schema-1.json", {"schema": 3}),
        ("card-schema-1.json", {"schema": 4}),
        ("card-schema-1.json", {"mask_paste": "canvas"}),
        ("card-schema-1.json", {"canvas": [256]}),
        ("card-schema-1.json", {"mode": "depth"}),
        ("card-schema-1.json", {"mean": [1, 2, 3]}),
        ("card-schema-1.json", {"merge": "queries"}),
        ("card-schema-1.json", {"surprise": 1}),
        ("card-schema-2.json", {"max_detections": 500}),
        ("card-schema-2.json", {"stuff_area": 4096}),
        ("panoptic-schema-1.plan.json", {"plan": {}}),
    ],
    ids=str,
)
def test_what_is_no_card_does_not_fit(name, change):
    assert problems({**golden(name), **change})


@pytest.mark.parametrize(
    ("cls", "members"),
    [
        (Card, {*SCHEMA["properties"]} - {"schema", "plan"}),
        (Category, {*SCHEMA["$defs"]["category"]["properties"]}),
        (PlanRecord, {*SCHEMA["$defs"]["plan"]["properties"]}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_member_is_described(cls, members):
    assert {field.name for field in dataclasses.fields(cls)} == members
