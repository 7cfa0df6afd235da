"""A model repository is written whole, checks out, and what is wrong with one is found without a server."""

import dataclasses
import json
import re

import pytest

import segopt
import tiny
from segopt.errors import CardError, EngineError, SegoptError, SinkError, UsageError
from segopt.triton.check import check_repository
from segopt.triton.repository import write_repository


@pytest.fixture
def engines(tmp_path):
    return [tiny.panoptic_engine(tmp_path / f"b{batch}.onnx", batch=batch) for batch in (1, 4)]


@pytest.fixture
def repository(tmp_path, engines):
    write_repository(engines, tmp_path / "repo", options={"score_threshold": 0.6})
    return tmp_path / "repo"


def checked(folder):
    pytest.importorskip("tritonclient", reason="tritonclient is not installed; `make test-scale` installs it")
    return check_repository(folder)


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_repository_has_a_front_its_networks_and_a_readme(repository, engines):
    files = sorted(str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file())
    assert files == [
        "README.md",
        "panoptic/1/card.json",
        "panoptic/1/model.py",
        "panoptic/config.pbtxt",
        "panoptic_network/1/model.onnx",
        "panoptic_network/config.pbtxt",
        "panoptic_network_b4/1/model.onnx",
        "panoptic_network_b4/config.pbtxt",
    ]
    assert (repository / "panoptic_network_b4" / "1" / "model.onnx").read_bytes() == engines[1].read_bytes()
    front = (repository / "panoptic" / "config.pbtxt").read_text()
    assert "max_batch_size: 4" in front
    assert "allow_ragged_batch: true" in front
    assert 'key: "score_threshold" value { string_value: "0.6" }' in front
    assert (
        "dims: [ 4, 48, 64, 3 ] zero_data: true"
        in (repository / "panoptic_network_b4" / "config.pbtxt").read_text()
    )
    readme = (repository / "README.md").read_text()
    assert "docker run" in readme
    assert "nv_inference_exec_count" in readme


def test_it_checks_out(repository):
    assert checked(repository) == (["panoptic", "panoptic_network", "panoptic_network_b4"], [])


@pytest.mark.parametrize("make", [tiny.semantic_engine, tiny.instance_engine])
def test_other_modes_have_repositories_too(tmp_path, make):
    mode = segopt.read_card(make(tmp_path / "e.onnx")).mode
    names = write_repository([tmp_path / "e.onnx"], tmp_path / "repo")
    assert names == (mode, f"{mode}_network")
    assert checked(tmp_path / "repo") == (list(names), [])


def test_a_view_of_a_panoptic_model_can_be_served(tmp_path, engines):
    assert write_repository(engines[:1], tmp_path / "repo", options={"mode": "semantic"})[0] == "semantic"
    assert checked(tmp_path / "repo")[1] == []


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "panoptic/config.pbtxt",
            "max_batch_size: 4",
            "max_batch_size: [",
            "is no configuration of a Triton model",
        ),
        ("panoptic/config.pbtxt", "max_batch_size: 4", "max_batches: 4", "is no configuration of a Triton model"),
        ("panoptic/config.pbtxt", "max_batch_size: 4", "max_batch_size: 2", "leaves a network of batch 4 idle"),
        ("panoptic/config.pbtxt", "allow_ragged_batch: true", "", "lacks allow_ragged_batch"),
        ("panoptic/config.pbtxt", 'name: "segment_map"', 'name: "map"', "output map is TYPE_INT32"),
        (
            "panoptic/config.pbtxt",
            "panoptic_network_b4:4",
            "panoptic_network_b8:8",
            "panoptic_network_b8: is missing",
        ),
        ("panoptic/config.pbtxt", '"0.6"', '"6"', "score_threshold is 6"),
        ("panoptic/config.pbtxt", '"0.6"', '"much"', "its parameters are damaged"),
        ("panoptic/1/card.json", '"panoptic"', '"pan', "card is damaged"),
        (
            "panoptic_network/config.pbtxt",
            "[ 1, 48, 64, 3 ] }",
            "[ 1, 48, 60, 3 ] }",
            "its card promises image as",
        ),
        ("panoptic_network/config.pbtxt", "max_batch_size: 0", "max_batch_size: 8", "needs 0"),
        ("panoptic_network/config.pbtxt", 'name: "panoptic_network"', 'name: "net"', "is for 'net'"),
        ("panoptic_network/config.pbtxt", '"onnxruntime"', '"pytorch"', "neither onnxruntime nor tensorrt"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(repository, file, old, new, words):
    edited(repository / file, old, new)
    _, problems = checked(repository)
    assert any(words in problem for problem in problems), problems
    assert all(str(repository) in problem for problem in problems)


def test_files_of_another_network_are_found_out(repository, tmp_path):
    network = repository / "panoptic_network" / "1" / "model.onnx"
    tiny.panoptic_engine(network, canvas=(32, 64))
    assert any("has another canvas" in problem for problem in checked(repository)[1])
    network.write_bytes(b"")
    assert any("model.onnx" in problem for problem in checked(repository)[1])
    (repository / "panoptic" / "1" / "model.py").unlink()
    assert any("model.py: is missing" in problem for problem in checked(repository)[1])
    with pytest.raises(UsageError, match="is no folder"):
        checked(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"has no NAME/config\.pbtxt"):
        checked(repository / "panoptic" / "1")


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        ("exists", SinkError, "exists already"),
        ("twice", UsageError, "two engines of batch 1"),
        ("other", UsageError, "has another canvas than"),
        ("threshold", UsageError, "score_threshold is 3"),
        ("rtx", EngineError, "is a plan of tensorrt-rtx"),
        ("none", CardError, "none.onnx"),
    ],
)
def test_what_cannot_be_served_leaves_nothing(tmp_path, engines, case, error, words):
    options = {"score_threshold": 3} if case == "threshold" else {}
    if case == "exists":
        (tmp_path / "repo").mkdir()
    elif case == "twice":
        engines = [engines[0], engines[0]]
    elif case == "other":
        engines[1] = tiny.panoptic_engine(tmp_path / "other.onnx", canvas=(32, 64), batch=2)
    elif case == "rtx":
        engines = [plan(tmp_path, engines[0], runtime="tensorrt-rtx")]
    elif case == "none":
        engines = [tmp_path / "none.onnx"]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=re.escape(words)):
        write_repository(engines, tmp_path / "repo", options=options)
    assert sorted(tmp_path.rglob("*")) == before


def plan(folder, engine, **changes):
    from segopt.model.sidecar import Sidecar, sidecar_path

    path = folder / "e.plan"
    path.write_bytes(b"plan")
    sidecar = Sidecar(segopt.read_card(engine), tiny.plan_record(**changes))
    sidecar_path(path).write_text(sidecar.to_json())
    return path


def test_a_plan_goes_to_the_tensorrt_backend_with_its_record(tmp_path, engines):
    write_repository([plan(tmp_path, engines[0])], tmp_path / "repo")
    config = (tmp_path / "repo" / "panoptic_network" / "config.pbtxt").read_text()
    assert 'backend: "tensorrt"' in config
    assert "KIND_GPU" in config
    files = sorted(path.name for path in (tmp_path / "repo" / "panoptic_network" / "1").iterdir())
    assert files == ["model.plan", "model.plan.json"]
    assert checked(tmp_path / "repo")[1] == []
    (tmp_path / "repo" / "panoptic_network" / "1" / "model.plan").write_bytes(b"other")
    assert len(checked(tmp_path / "repo")[1]) == 1


def test_the_command_writes_checks_and_refuses_in_one_line(tmp_path, engines, segopt_cli):
    status, out, _ = segopt_cli(
        "triton", "--engine", engines[0], "--engine", engines[1], "--output", tmp_path / "repo"
    )
    assert status == 0
    assert "panoptic, panoptic_network, panoptic_network_b4" in out
    for arguments, words in (
        (["--engine", engines[0]], "triton takes --engine FILE and --output REPO"),
        (["--check", tmp_path / "repo", "--output", tmp_path / "x"], "--check takes a repository alone"),
    ):
        status, _, err = segopt_cli("triton", *arguments)
        assert status == 2
        assert words in err
        assert err.count("\n") == 1


def test_cards_in_a_repository_are_those_of_the_files(repository, engines):
    card = segopt.read_card(engines[0])
    assert segopt.Card.from_json((repository / "panoptic/1/card.json").read_text(), source="x") == card
    assert json.loads((repository / "panoptic/1/card.json").read_text())["batch"] == 1
    assert dataclasses.replace(card, batch=4) == segopt.read_card(engines[1])
    assert issubclass(CardError, SegoptError)
