"""The record of a plan: what is written is read, and what does not belong together is refused."""

import dataclasses
import errno
import hashlib
import json
import shlex

import pytest

import segopt
import tiny
from segopt.errors import CardError, SinkError
from segopt.model import sidecar
from segopt.model.sidecar import PlanRecord, Sidecar

PLAN = b"a plan of TensorRT's"
RECORD = PlanRecord(
    sha256=hashlib.sha256(PLAN).hexdigest(),
    runtime="tensorrt",
    version="10.3.0",
    gpu="Orin",
    compute_capabilities=("8.7",),
    hardware_compatible=False,
    version_compatible=True,
    half_share=0.96875,
    segopt="0.1.0",
    model="street model.onnx",
    options=("--version-compatible", "--workspace", "512MiB"),
)


@pytest.fixture
def made(panoptic_engine):
    return Sidecar(segopt.read_card(panoptic_engine), RECORD)


@pytest.fixture
def path(tmp_path, made):
    path = tmp_path / "out" / "street.plan"
    sidecar.write(path, PLAN, made)
    return path


def test_what_is_written_is_read(path, made):
    assert sidecar.read(path) == made
    assert sidecar.read_plan(path) == (made, PLAN)
    assert sorted(p.name for p in path.parent.iterdir()) == ["street.plan", "street.plan.json"]


def test_the_card_in_it_is_the_models(path, panoptic_engine):
    assert segopt.read_card(path) == segopt.read_card(panoptic_engine)


def test_the_plan_is_the_bare_bytes(path):
    assert path.read_bytes() == PLAN


def test_a_plan_of_another_build_is_refused_with_the_command_that_builds_it(path):
    path.write_bytes(PLAN + b"!")
    assert sidecar.read(path).plan == RECORD
    with pytest.raises(
        CardError, match=r"street\.plan: is not the plan that street\.plan\.json was written for"
    ) as e:
        sidecar.read_plan(path)
    assert "segopt build " in str(e.value)
    assert "\n" not in str(e.value)


def test_the_rebuild_command_has_all_that_shaped_the_plan(path):
    words = shlex.split(RECORD.rebuild_command(path))
    model = path.with_name("street model.onnx")
    assert words == ["segopt", "build", str(model), *RECORD.options, "--output", str(path), "--overwrite"]


@pytest.mark.parametrize(
    ("change", "capability", "runs"),
    [
        ({"compute_capabilities": ("8.7",)}, "8.7", True),
        ({"compute_capabilities": ("8.7",)}, "8.6", False),
        ({"compute_capabilities": ("8.6", "12.0")}, "12.0", True),
        ({"compute_capabilities": ("8.7",), "hardware_compatible": True}, "9.0", True),
        ({"compute_capabilities": ("8.7",), "hardware_compatible": True}, "7.5", False),
    ],
)
def test_it_knows_the_gpus_that_it_was_built_for(change, capability, runs):
    assert dataclasses.replace(RECORD, **change).runs_on(capability) is runs


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("plan"),
        lambda d: d["plan"].pop("sha256"),
        lambda d: d["plan"].update(runtime="openvino"),
        lambda d: d["plan"].update(runtime=["tensorrt"]),
        lambda d: d["plan"].update(half_share=1.5),
        lambda d: d["plan"].update(half_share="0.5"),
        lambda d: d["plan"].update(compute_capabilities="8.7"),
        lambda d: d["plan"].update(options=[1]),
        lambda d: d["plan"].update(hardware_compatible=1),
        lambda d: d["plan"].update(gpu=None),
        lambda d: d["plan"].update(version="\ud800"),
        lambda d: d.update(plan=[]),
        lambda d: d.update(plan=None),
        lambda d: d.pop("mode"),
    ],
)
def test_a_damaged_one_is_an_error_of_one_line(path, damage):
    beside = sidecar.sidecar_path(path)
    document = json.loads(beside.read_text(encoding="utf-8"))
    damage(document)
    beside.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(CardError, match=r"street\.plan\.json: its .* is damaged \(.*\); ") as caught:
        sidecar.read(path)
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_models_name_does_not_lead_out_of_the_plans(path):
    beside = sidecar.sidecar_path(path)
    document = json.loads(beside.read_text(encoding="utf-8"))
    document["plan"]["model"] = "../../etc/model.onnx"
    beside.write_text(json.dumps(document), encoding="utf-8")
    assert sidecar.read(path).plan.model == "model.onnx"


def test_a_missing_one_is_an_error(path):
    sidecar.sidecar_path(path).unlink()
    with pytest.raises(CardError, match=r"street\.plan\.json is missing"):
        sidecar.read(path)
    path.unlink()
    with pytest.raises(CardError, match=r"street\.plan: no such file; .*segopt build"):
        sidecar.read(path)


def test_a_full_disk_costs_neither_the_old_plan_nor_its_sidecar(path, made, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(path), "write_text", full)  # The plan is on the disk by then.
    other = dataclasses.replace(made, plan=dataclasses.replace(RECORD, sha256="0" * 64))
    with pytest.raises(SinkError, match="No space left"):
        sidecar.write(path, b"a new plan", other)
    monkeypatch.undo()
    assert sidecar.read_plan(path) == (made, PLAN)
    assert len(list(path.parent.iterdir())) == 2


def test_no_reader_ever_meets_a_pair_that_does_not_match(path, made, monkeypatch):
    """Renaming is what readers see, so after each one the folder is looked at."""
    seen = []
    replace = type(path).replace

    def look(self, target):
        done = replace(self, target)
        try:
            seen.append(sidecar.read_plan(path)[1])
        except CardError as error:
            seen.append("missing" if "missing" in str(error) else str(error))
        return done

    monkeypatch.setattr(type(path), "replace", look)
    new = b"a new plan"
    record = dataclasses.replace(RECORD, sha256=hashlib.sha256(new).hexdigest())
    sidecar.write(path, new, dataclasses.replace(made, plan=record))
    assert seen == ["missing", new]


def test_a_folder_in_the_plans_place_is_an_error(tmp_path, made):
    (tmp_path / "a.plan").mkdir()
    with pytest.raises(SinkError, match=r"a\.plan: is a folder"):
        sidecar.write(tmp_path / "a.plan", PLAN, made)
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name or "json" in p.name] == []


def test_every_mode_has_a_sidecar(tmp_path):
    for make in (tiny.semantic_engine, tiny.instance_engine, tiny.panoptic_engine):
        card = segopt.read_card(make(tmp_path / "a.onnx"))
        sidecar.write(tmp_path / "a.plan", PLAN, Sidecar(card, RECORD))
        assert sidecar.read(tmp_path / "a.plan").card == card


@pytest.mark.parametrize("there", ["street.plan", "street.plan.json"])
def test_an_export_that_goes_on_to_build_replaces_no_plan_of_others(tmp_path, there):
    plan = tmp_path / "street.plan"
    sidecar.check_ours(plan)
    (tmp_path / there).write_bytes(b"own")
    with pytest.raises(SinkError, match=rf"{there}: exists, and is no plan that segopt built"):
        sidecar.check_ours(plan)
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_an_export_that_goes_on_to_build_replaces_an_older_plan(path):
    sidecar.check_ours(path)
