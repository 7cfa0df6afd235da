"""A card is read as it was written, and a damaged one is refused, whatever the damage."""

import dataclasses
import json
import random

import pytest

import tiny
from segopt.errors import CardError
from segopt.model.card import SCHEMA, Card, WeightsOrigin
from segopt.model.categories import Category
from segopt.model.int8_choice import Int8Choice, Int8Point

SEMANTIC = Card(
    mode="semantic",
    networks={"semantic": "lraspp_mobilenet_v3_large"},
    canvas=(512, 896),
    batch=4,
    precision="int8",
    categories={"semantic": (Category(0, "Straße „Nord“", False, (0, 128, 255)),)},
    weights={"semantic": WeightsOrigin("random (seed 0)", "ab" * 32)},
    mean=(0.1, 0.25, 1 / 3),
    score_threshold=0.25,
    versions={"torch": "2.15.0+cpu"},
)
PANOPTIC = Card(
    mode="panoptic",
    networks={"semantic": "fcn_resnet50", "instance": "maskrcnn_resnet50_fpn"},
    canvas=(800, 1344),
    batch=1,
    precision="fp16",
    categories={
        "panoptic": (*tiny.THINGS, tiny.SKY),
        "semantic": tiny.SEMANTIC_CATEGORIES,
        "instance": tiny.THINGS,
    },
    weights={branch: WeightsOrigin("COCO_V1", "0" * 64) for branch in ("semantic", "instance")},
    stuff_classes={1: tiny.SKY.id, 255: tiny.SKY.id},
    max_detections=100,
    mask_paste="detectron2",
    stuff_area=0,
    half_share=0.975,
    float_layers=("branches.0.model.backbone.conv1", "branches.0.model.classifier.4"),
)
QUERIES = Card(
    mode="panoptic",
    networks={"panoptic": "eomt_small"},
    canvas=(640, 640),
    batch=1,
    precision="fp16",
    categories={
        "panoptic": (*tiny.THINGS, tiny.SKY),
        "semantic": tiny.SEMANTIC_CATEGORIES,
        "instance": tiny.THINGS,
    },
    weights={"panoptic": WeightsOrigin("folder", "0" * 64)},
    stuff_classes={3: tiny.SKY.id},
    max_detections=100,
    merge="queries",
    padding=(0, 1, 255),
    query_score=0.7,
    mask_share=0.6,
    map_scale=2,
)
OVER_CANVAS = dataclasses.replace(
    PANOPTIC, mask_paste="canvas-box", mask_size=(60, 80), resize="stretch", padding=(114, 114, 0)
)
INT8 = dataclasses.replace(
    PANOPTIC,
    precision="int8",
    int8=Int8Choice(
        bound=1.0,
        lost=0.85,
        pictures=8,
        layers=55,
        candidates=61,
        saved=0.97,
        trade_off=(Int8Point(40, 0.6, 0.3), Int8Point(55, 0.97, 0.85)),
        held_out=True,
    ),
)
ADDED_LATER = {"half_share": 0.0, "float_layers": (), "settings": {}, "int8": None}
"""Fields that older files have not, and what they mean there."""


@pytest.mark.parametrize(
    "card",
    [SEMANTIC, PANOPTIC, QUERIES, OVER_CANVAS, INT8],
    ids=lambda card: f"{card.mode} {card.merge} {card.mask_paste} {card.precision}",
)
def test_a_card_is_read_as_it_was_written(card):
    text = card.to_json()
    again = Card.from_json(text, source="model.onnx")
    assert again == card
    assert again.to_json() == text
    assert type(again.canvas) is tuple
    assert all(type(index) is int for index in again.stuff_classes)


def test_a_models_own_view_comes_first():
    assert PANOPTIC.views == ("panoptic", "semantic", "instance")
    assert SEMANTIC.views == ("semantic",)


def test_fields_that_this_version_does_not_know_are_let_be():
    text = json.dumps(json.loads(PANOPTIC.to_json()) | {"mood": "sunny"})
    assert Card.from_json(text, source="model.onnx") == PANOPTIC


@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, "2", None, [1] * 1000])
def test_a_card_of_another_schema_says_which_are_read(schema):
    text = json.dumps(json.loads(SEMANTIC.to_json()) | {"schema": schema})
    with pytest.raises(
        CardError, match=rf"^model\.onnx: its card has schema .* this segopt reads 1 to {SCHEMA};"
    ) as caught:
        Card.from_json(text, source="model.onnx")
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"card"',
        "{}",
        "[" * 100_000,
        '{"schema": 1}',
        '{"schema": 1, "canvas": [1e999, 4]}',
    ],
    ids=lambda text: text[:12] or "empty",
)
def test_text_that_is_no_card_is_refused(text):
    with pytest.raises(CardError, match=r"^model\.onnx: its segopt card is damaged.*export the model again"):
        Card.from_json(text, source="model.onnx")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["mode"], "depth", "mode 'depth'"),
        (["canvas"], [480], "values to unpack"),
        (["canvas"], [480, 0], "canvas width 0"),
        (["canvas"], [480.5, 640], "canvas height 480.5"),
        (["batch"], True, "batch True"),
        (["networks"], "fcn", "attribute"),
        (["precision"], 16, "precision 16"),
        (["categories", "panoptic", 0, "color"], [0, 0, 256], "color 256"),
        (["categories", "panoptic", 0, "is_thing"], 1, "is_thing 1"),
        (["categories", "panoptic", 0, "name"], "\ud800", "surrogates"),
        (["categories"], {}, "no instance, panoptic, semantic classes"),
        (["stuff_classes"], {"256": 1}, "stuff index 256"),
        (["stuff_classes"], {"sky": 1}, "sky"),
        (["mask_paste"], "mmdetection", "mask_paste 'mmdetection'"),
        (["mean"], [0.5, 0.5], "values to unpack"),
        (["std"], [0.5, 0.5, float("nan")], "std nan"),
        (["score_threshold"], 1.5, "score_threshold 1.5"),
        (["stuff_area"], -1, "stuff_area -1"),
        (["half_share"], 1.01, "half_share 1.01"),
        (["float_layers"], "conv1", "float_layers 'conv1'"),
        (["float_layers"], [1], "float_layers 1"),
    ],
)
def test_a_value_that_cannot_be_is_named(path, value, message):
    data = json.loads(PANOPTIC.to_json())
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(CardError, match=rf"damaged \(.*{message}") as caught:
        Card.from_json(json.dumps(data), source="model.onnx")
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["bound"], 101, "int8 bound 101"),
        (["lost"], -0.1, "int8 lost -0.1"),
        (["pictures"], 0, "int8 pictures 0"),
        (["layers"], 1.5, "int8 layers 1.5"),
        (["saved"], 2, "int8 saved 2"),
        (["trade_off", 0, "lost"], "much", "int8 lost 'much'"),
        (["trade_off"], [{}], "layers"),
        (["held_out"], 1, "int8 held_out 1"),
    ],
)
def test_a_choice_of_layers_that_cannot_be_is_named(path, value, message):
    data = json.loads(INT8.to_json())
    inner = data["int8"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(CardError, match=rf"damaged \(.*{message}"):
        Card.from_json(json.dumps(data), source="model.onnx")


def test_a_card_without_a_choice_of_layers_has_no_such_member():
    assert "int8" not in json.loads(PANOPTIC.to_json())
    assert "at most 1" in str(INT8.int8)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("merge", "boxes", "merge 'boxes'"),
        ("mode", "instance", "mode 'instance' of a query network"),
        ("padding", [0, 0], "values to unpack"),
        ("padding", [0, 0, 256], "padding 256"),
        ("query_score", -0.1, "query_score -0.1"),
        ("mask_share", "0.8", "mask_share '0.8'"),
        ("map_scale", 0, "map_scale 0"),
        ("max_detections", 129, "max_detections 129"),
    ],
)
def test_a_query_networks_value_that_cannot_be_is_named(field, value, message):
    data = json.loads(QUERIES.to_json()) | {field: value}
    with pytest.raises(CardError, match=rf"damaged \(.*{message}"):
        Card.from_json(json.dumps(data), source="model.onnx")


def test_what_needs_no_queries_is_written_for_older_versions():
    members = json.loads(PANOPTIC.to_json())
    assert members["schema"] == 1
    assert "merge" not in members
    assert "resize" not in members
    assert json.loads(QUERIES.to_json())["schema"] == 2
    assert "overlap_threshold" not in json.loads(QUERIES.to_json())


@pytest.mark.parametrize(
    "newer",
    [{"mask_paste": "canvas", "mask_size": (7, 9)}, {"resize": "stretch"}, {"padding": (1, 2, 3)}],
    ids=lambda newer: next(iter(newer)),
)
def test_what_older_versions_cannot_lay_out_is_of_a_schema_that_they_refuse(newer):
    card = dataclasses.replace(PANOPTIC, **newer)
    assert json.loads(card.to_json())["schema"] == 3
    assert Card.from_json(card.to_json(), source="model.onnx") == card


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mask_paste", "box", "mask_paste 'box'"),
        ("mask_size", [60], "values to unpack"),
        ("mask_size", [60, 0], "mask_size 0"),
        ("mask_size", None, "damaged"),
        ("resize", "crop", "resize 'crop'"),
        ("padding", [0, 0, 256], "padding 256"),
    ],
)
def test_a_wrapped_networks_value_that_cannot_be_is_named(field, value, message):
    data = json.loads(OVER_CANVAS.to_json()) | {field: value}
    with pytest.raises(CardError, match=message):
        Card.from_json(json.dumps(data), source="model.onnx")


def test_masks_over_the_canvas_need_the_newer_schema():
    data = json.loads(PANOPTIC.to_json()) | {"mask_paste": "canvas"}
    with pytest.raises(CardError, match="mask_paste 'canvas'"):
        Card.from_json(json.dumps(data), source="model.onnx")


@pytest.mark.parametrize("field", ADDED_LATER)
def test_a_file_older_than_a_field_is_read(field):
    data = json.loads(PANOPTIC.to_json())
    data.pop(field, None)
    card = Card.from_json(json.dumps(data), source="model.onnx")
    assert card == dataclasses.replace(PANOPTIC, **{field: ADDED_LATER[field]})


@pytest.mark.parametrize(
    ("card", "field"),
    [
        (card, name)
        for card in (PANOPTIC, QUERIES, OVER_CANVAS)
        for name in card.members()
        if name not in ADDED_LATER
    ],
    ids=lambda value: value if isinstance(value, str) else value.merge,
)
def test_a_field_that_is_missing_is_named(card, field):
    data = json.loads(card.to_json())
    del data[field]
    with pytest.raises(CardError, match="is damaged" if field == "schema" else f"it has no '{field}'"):
        Card.from_json(json.dumps(data), source="model.onnx")


ODD_VALUES = [None, True, -1, 0, 1, 2**70, 1.5, float("inf"), float("nan"), "", "x\ny", [], [[]], {}, {"a": {}}]


def damaged(value, randomness):
    """The JSON value with one place in it replaced."""
    if isinstance(value, dict | list) and value and randomness.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = randomness.choice(keys)
        copy = value.copy()
        copy[key] = damaged(value[key], randomness)
        return copy
    return randomness.choice(ODD_VALUES)


def test_any_damage_is_either_harmless_or_an_error_of_one_line():
    randomness = random.Random(0)
    whole = json.loads(PANOPTIC.to_json())
    refused = 0
    for _ in range(3000):
        try:
            card = Card.from_json(json.dumps(damaged(whole, randomness)), source="model.onnx")
        except CardError as error:
            assert_one_line(error)
            refused += 1
        else:
            # What is let through has the right types everywhere, so that it can be used and written.
            assert Card.from_json(card.to_json(), source="model.onnx") == card
    assert refused > 2000


def assert_one_line(error):
    assert str(error).startswith("model.onnx: ")
    assert "\n" not in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\n", "\x9b", "\u202e", "\u2028"])
def test_what_no_terminal_should_get_is_written_out(character):
    document = json.loads(SEMANTIC.to_json())
    document["categories"]["semantic"][0]["name"] = f"a{character}[2Jb"
    document["weights"]["semantic"]["name"] = f"w{character}"
    card = Card.from_json(json.dumps(document), source="card")
    shown = character.encode("unicode_escape").decode()
    assert card.categories["semantic"][0].name == f"a{shown}[2Jb"
    assert card.weights["semantic"].name == f"w{shown}"


def test_texts_without_end_are_refused_at_once():
    document = json.loads(SEMANTIC.to_json())
    document["categories"]["semantic"][0]["name"] = "a" * 5000
    with pytest.raises(CardError, match="class name of 5000 characters"):
        Card.from_json(json.dumps(document), source="card")
    document["categories"]["semantic"][0]["name"] = "a" * 10_000_000
    with pytest.raises(CardError, match=r"has 100\d+ characters"):
        Card.from_json(json.dumps(document), source="card")
