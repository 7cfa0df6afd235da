"""A model folder: each machine takes the file that fits it, never another precision, and says why."""

import dataclasses
import shutil

import cv2
import numpy as np
import onnx
import pytest

import segopt
import tiny
from segopt.driver import Gpu
from segopt.errors import CardError, EngineError, UsageError
from segopt.model import sidecar
from segopt.model.card import METADATA_KEY
from segopt.model.reading import read_card
from segopt.model_folder import Machine, choose, default_precision, plan_name, read_folder

ORIN = Gpu("Orin", "8.7")
ADA = Gpu("NVIDIA GeForce RTX 4090", "8.9")


def machine(gpu=None, **versions):
    known = {name.replace("_", "-"): version for name, version in versions.items()}
    missing = {name: f"{name} is not installed" for name in sidecar.FLAVORS if name not in known}
    return Machine(gpu, "" if gpu else "no driver", known, missing)


def add_onnx(folder, name, **changes):
    """An ONNX file whose card differs in what is named."""
    path = tiny.semantic_engine(folder / name)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: dataclasses.replace(read_card(path), **changes).to_json()})
    onnx.save(model, path)
    return path


def add_plan(onnx_file, name, *, runtime="tensorrt", version="10.3.0", gpu=ORIN, **changes):
    record = tiny.plan_record(
        runtime=runtime,
        version=version,
        gpu=gpu.name,
        compute_capabilities=(gpu.compute_capability,),
        model=onnx_file.name,
        **changes,
    )
    path = onnx_file.with_name(name)
    sidecar.write(path, b"plan", sidecar.Sidecar(read_card(onnx_file), record))
    return path


@pytest.fixture
def street(tmp_path):
    """FP32 (the default, by its name) and FP16, each with plans for an Orin; one of the FP16 for RTX, too."""
    folder = tmp_path / "street"
    folder.mkdir()
    single = add_onnx(folder, "street.onnx", precision="fp32")
    half = add_onnx(folder, "street-half.onnx", precision="fp16", target="tensorrt")
    add_onnx(folder, "street-half-cpu.onnx", precision="fp16", target="cpu")
    add_plan(single, "single-orin.plan")
    add_plan(half, "half-orin.plan")
    rtx = {"runtime": "tensorrt-rtx", "version": "1.7.1", "gpu": Gpu("", "8.9")}
    add_plan(half, "half-rtx.plan", **rtx)
    return folder


@pytest.mark.parametrize(
    ("here", "device", "precision", "taken"),
    [
        (machine(), "auto", None, "street.onnx"),
        (machine(), "auto", "fp16", "street-half-cpu.onnx"),
        (machine(ORIN, tensorrt="10.3.0"), "auto", None, "single-orin.plan"),
        (machine(ORIN, tensorrt="10.3.0"), "auto", "fp16", "half-orin.plan"),
        (machine(ORIN, tensorrt="10.3.0"), "cpu", "fp16", "street-half-cpu.onnx"),
        (machine(ORIN, tensorrt="10.3.0"), "tensorrt", "fp16", "street-half.onnx"),
        # JetPack was updated: the plans are of another TensorRT.
        (machine(ORIN, tensorrt="10.7.0"), "auto", "fp16", "street-half.onnx"),
        (machine(ADA, tensorrt_rtx="1.7.1"), "auto", "fp16", "half-rtx.plan"),
        (machine(ADA, tensorrt_rtx="1.7.1"), "auto", None, "street.onnx"),
    ],
)
def test_each_machine_takes_the_file_that_fits_it(street, here, device, precision, taken):
    assert choose(street, device, precision, machine=here).candidate.path.name == taken


def test_a_plan_of_this_very_gpu_comes_before_one_of_its_kind(tmp_path):
    """Orin AGX and Orin Nano have one compute capability; each is fastest with its own plan."""
    model = add_onnx(tmp_path, "a.onnx")
    add_plan(model, "a-first.plan", gpu=Gpu("NVIDIA GeForce RTX 4060", "8.9"))
    add_plan(model, "a-second.plan", gpu=ADA)
    here = machine(ADA, tensorrt="10.3.0")
    assert choose(tmp_path, machine=here).candidate.path.name == "a-second.plan"


def test_another_precision_is_never_taken(street):
    (street / "street-half-cpu.onnx").unlink()
    (street / "street-half.onnx").unlink()
    with pytest.raises(EngineError, match=r"no fp16 file in it runs here: .*half-orin\.plan .*no driver") as error:
        choose(street, "auto", "fp16", machine=machine())
    assert "single-orin.plan is fp32, and fp16 is asked for" in str(error.value)


def test_the_default_is_one_precision_or_the_file_named_as_the_folder(street):
    assert default_precision(street, read_folder(street)) == "fp32"
    (street / "street.onnx").rename(street / "other.onnx")
    with pytest.raises(UsageError, match=r"has fp16, fp32 files; choose with --precision, or .*street\.onnx"):
        choose(street, machine=machine())
    with pytest.raises(UsageError, match="fp8"):
        choose(street, precision="fp8", machine=machine())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"weights": {"semantic": tiny.WeightsOrigin("other", "1" * 64)}}, "weights"),
        ({"canvas": (96, 64)}, "canvas"),
        ({"batch": 2}, "batch"),
        ({"categories": {"semantic": tiny.SEMANTIC_CATEGORIES[:1]}}, "classes"),
    ],
)
def test_files_of_different_networks_are_refused(street, changes, what):
    add_onnx(street, "z.onnx", **changes)
    with pytest.raises(CardError, match=rf"z\.onnx has other {what} than"):
        read_folder(street)


def foreign(folder):
    (folder / "notes.txt").touch()


def subfolder(folder):
    (folder / "old").mkdir()


def link(folder):
    (folder / "b.onnx").symlink_to(folder / "street.onnx")


def lone_plan(folder):
    (folder / "b.plan").write_bytes(b"plan")


def lone_sidecar(folder):
    shutil.copy(folder / "half-orin.plan.json", folder / "b.plan.json")


def others_onnx(folder):
    model = onnx.load(folder / "street.onnx")
    model.ClearField("metadata_props")
    onnx.save(model, folder / "b.onnx")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (foreign, r"notes\.txt: is none of a model's files"),
        (subfolder, "old: is none of a model's files"),
        (link, r"b\.onnx: is a link"),
        (lone_plan, r"b\.plan: its sidecar b\.plan\.json is missing"),
        (lone_sidecar, r"b\.plan\.json: is a sidecar without its plan"),
        (others_onnx, r"b\.onnx: .*not one of segopt's"),
    ],
)
def test_foreign_files_and_links_are_refused(street, spoil, told):
    spoil(street)
    with pytest.raises(CardError, match=told):
        read_folder(street)


def test_hidden_files_and_caches_are_passed_over(street):
    (street / ".DS_Store").touch()
    (street / "half-rtx.plan.cache").touch()
    (street / "street.onnx.trt").mkdir()
    assert len(read_folder(street)) == 6


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(CardError, match="export one with --output"):
        read_folder(tmp_path)


def test_load_takes_a_folder_and_says_which_file(street):
    with segopt.load(street, "cpu", precision="fp16") as segmenter:
        assert segmenter.path == street / "street-half-cpu.onnx"
        assert segmenter(np.full((48, 64, 3), 255, np.uint8)).classes.all()


def test_a_file_of_another_precision_than_asked_for_is_refused(semantic_engine):
    with pytest.raises(UsageError, match=r"semantic\.onnx: is fp32, not fp16"):
        segopt.load(semantic_engine, precision="fp16")


def test_a_run_takes_a_folder_and_tells_why(street, segopt_cli, tmp_path):
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    arguments = ("run", picture, "--engine", street, "--device", "cpu", "--output", tmp_path / "out")
    status, out, err = segopt_cli(*arguments)
    assert (status, err) == (0, "")
    assert f"model: {street / 'street.onnx'} (ONNX file, fp32, made fast for cpu)" in out


def test_info_lists_every_file_with_the_reason(street, segopt_cli):
    status, out, _ = segopt_cli("info", street, "--precision", "fp16")
    assert status == 0
    rows = {line.split()[0]: line for line in out.splitlines() if ".onnx" in line or ".plan" in line}
    assert len(rows) == 6
    assert "fp32, and fp16 is asked for" in rows["street.onnx"]
    assert "made fast for" in rows["street-half.onnx"]
    assert sum(" taken " in line for line in rows.values()) == 1
    status, _, err = segopt_cli("info", street, "--json")
    assert status == 2
    assert "one of the folder's" in err


def test_the_name_of_a_plan_says_its_machine(tmp_path):
    model = tmp_path / "street.onnx"
    assert plan_name(model, "tensorrt", "10.3.0", ORIN) == "street-tensorrt-10.3.0-orin.plan"
    assert plan_name(model, "tensorrt-rtx", "1.7.1.116", None) == "street-tensorrt-rtx-1.7.1.116.plan"
    assert plan_name(model, "tensorrt", "10.3.0", ADA).endswith("-nvidia-geforce-rtx-4090.plan")


def test_a_build_adds_its_plan_to_the_folder(tmp_path, segopt_cli):
    pytest.importorskip("tensorrt_rtx")
    add_onnx(tmp_path, "a.onnx")
    status, out, err = segopt_cli("build", tmp_path, "--runtime", "tensorrt-rtx")
    assert status == 0, err
    (plan,) = tmp_path.glob("a-tensorrt-rtx-*.plan")
    assert str(plan) in out
    assert {each.path.name for each in read_folder(tmp_path)} == {"a.onnx", plan.name}
    status, _, err = segopt_cli("build", tmp_path, "--runtime", "tensorrt-rtx", "--precision", "int8")
    assert status == 2
    assert "no int8 ONNX file" in err
