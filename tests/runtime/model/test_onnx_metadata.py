"""The card is found in a model file, and every other file is an error of one line that names it."""

import os
import random
import tracemalloc

import onnx
import pytest

import tiny
from segopt.errors import CardError
from segopt.model.card import METADATA_KEY, Card
from segopt.model.onnx_metadata import read_metadata
from segopt.model.reading import read_card


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.onnx"


@pytest.fixture
def engine(file):
    return tiny.semantic_engine(file)


def error_of(path):
    """The message that reading this file ends with: one line that begins with its name."""
    with pytest.raises(CardError) as caught:
        read_card(path)
    assert_one_line_about(path, caught.value)
    return str(caught.value)


def assert_one_line_about(path, error):
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400


def foreign_model():
    image = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "foreign", [image], [out])
    return onnx.helper.make_model(graph)


def test_the_card_is_the_one_that_was_written(engine):
    assert read_card(engine) == read_card(str(engine))
    assert read_card(engine) == Card.from_json(
        next(entry.value for entry in onnx.load(engine).metadata_props if entry.key == METADATA_KEY),
        source="model.onnx",
    )


def test_metadata_is_onnxs_own(file):
    model = foreign_model()
    properties = {"author": "Zoë", "empty": "", "": "nameless", "long": "x" * 100_000}
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, file)
    assert read_metadata(file) == properties


def test_every_field_of_a_model_may_stand_beside_the_card(engine):
    model = onnx.load(engine)
    model.producer_name, model.domain, model.model_version, model.doc_string = "p", "d", 2**40, "text"
    model.functions.add(name="f", domain="d")
    model.training_info.add()
    onnx.save(model, engine)
    assert read_card(engine).mode == "semantic"


def test_a_large_model_is_not_read_to_find_its_card(file):
    model = foreign_model()
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.UINT8, [20_000_000], bytes(20_000_000), raw=True)
    model.graph.initializer.append(weights)
    onnx.helper.set_model_props(model, {"k": "v"})
    onnx.save(model, file)
    tracemalloc.start()
    try:
        assert read_metadata(file) == {"k": "v"}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_missing_file(file):
    assert "no such file" in error_of(file)


def test_a_folder(file):
    file.mkdir()
    assert "is a folder" in error_of(file)


def test_an_empty_file(file):
    file.touch()
    assert "is empty" in error_of(file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(engine):
    engine.chmod(0)
    assert "cannot be read" in error_of(engine)


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"Lorem ipsum dolor sit amet, consectetur adipiscing elit.\n" * 100,
        b'{"schema": 1, "mode": "semantic"}',
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        b"PK\x03\x04" + bytes(range(256)) * 8,
        bytes(5000),
        b"\xff" * 5000,
        b"\x08",
    ],
    ids=["word", "text", "json", "png", "zip", "zeros", "ones", "byte"],
)
def test_files_of_other_kinds(file, content):
    file.write_bytes(content)
    assert "is not an ONNX file" in error_of(file)


def test_a_foreign_model_has_no_card(file):
    onnx.save(foreign_model(), file)
    assert "not one of segopt's" in error_of(file)


def test_a_truncated_model_is_never_taken_for_whole(engine):
    whole = engine.read_bytes()
    truncated = 0
    for length in range(1, len(whole)):
        engine.write_bytes(whole[:length])
        message = error_of(engine)
        truncated += "truncated" in message
    assert truncated > 0.9 * len(whole)


def test_a_truncated_model_with_its_card_in_front_is_never_taken_for_whole(engine):
    # Writers may put fields in any order; here the graph, and so the network, is last.
    model = onnx.load(engine)
    graph = onnx.ModelProto(graph=model.graph).SerializeToString()
    model.ClearField("graph")
    whole = model.SerializeToString() + graph
    engine.write_bytes(whole)
    assert read_card(engine).mode == "semantic"
    for length in range(1, len(whole)):
        engine.write_bytes(whole[:length])
        error_of(engine)


@pytest.mark.parametrize("card", ["", "{", "null", '{"schema": 1}', "[" * 100_000, '{"schema": 99}'])
def test_a_damaged_card_or_one_of_a_newer_schema(file, card):
    model = foreign_model()
    onnx.helper.set_model_props(model, {METADATA_KEY: card})
    onnx.save(model, file)
    message = error_of(file)
    assert "export the model again" in message


def test_random_bytes(file):
    randomness = random.Random(0)
    for _ in range(1000):
        file.write_bytes(randomness.randbytes(randomness.randint(1, 200)))
        error_of(file)


@pytest.mark.slow
def test_any_damage_is_either_harmless_or_an_error_of_one_line(engine):
    randomness = random.Random(1)
    whole = engine.read_bytes()
    survived = 0
    for _ in range(4000):
        content = bytearray(whole)
        for _ in range(randomness.randint(1, 4)):
            at = randomness.randrange(len(content))
            match randomness.randint(0, 4):
                case 0:
                    content[at] = randomness.randrange(256)
                case 1:
                    content[at] ^= 1 << randomness.randrange(8)
                case 2:
                    del content[at : at + randomness.randint(1, 40)]
                case 3:
                    content[at:at] = randomness.randbytes(randomness.randint(1, 12))
                case 4:
                    content[at : at + 10] = b"\xff" * 10
        engine.write_bytes(content)
        try:
            card = read_card(engine)
        except CardError as error:
            assert_one_line_about(engine, error)
        else:
            assert Card.from_json(card.to_json(), source="again") == card
            survived += 1
    assert 0 < survived < 3000


def test_the_card_of_a_plan_lies_beside_it(tmp_path, engine):
    plan, sidecar = tmp_path / "model.plan", tmp_path / "model.plan.json"
    assert "no such file" in error_of(plan)
    plan.write_bytes(b"plan")
    assert "model.plan.json is missing" in error_of(plan)
    sidecar.write_text(read_card(engine).to_json(), encoding="utf-8")
    assert read_card(plan) == read_card(engine)
    sidecar.write_bytes(b"\xff\xfe\x00")
    assert "unreadable" in error_of(plan)
    sidecar.write_text("{", encoding="utf-8")
    with pytest.raises(CardError, match=r"model\.plan\.json: its segopt card is damaged"):
        read_card(plan)
