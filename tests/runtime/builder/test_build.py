"""`segopt build`: from a file of segopt's to a plan and its sidecar, with TensorRT-RTX, which needs no GPU."""

import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import segopt
import tiny
from segopt.builder import timing_cache
from segopt.builder.build import build
from segopt.builder.network import parse
from segopt.builder.options import BuildOptions
from segopt.driver import Gpu, find_gpu
from segopt.errors import CardError, EngineError, SinkError, UsageError
from segopt.model import sidecar
from segopt.model.card import METADATA_KEY
from segopt.tensorrt.flavor import TRAITS, find_flavor
from segopt.tensorrt.messages import start

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")

RTX = BuildOptions(runtime="tensorrt-rtx")
no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU")


def edited(path, edit):
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    return path


def with_card(path, **changes):
    card = dataclasses.replace(segopt.read_card(path), **changes)
    return edited(path, lambda model: helper.set_model_props(model, {METADATA_KEY: card.to_json()}))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# What is made.


@pytest.mark.parametrize("make", [tiny.semantic_engine, tiny.instance_engine, tiny.panoptic_engine])
def test_every_mode_becomes_a_plan_with_a_sidecar(tmp_path, make):
    model = make(tmp_path / "street.onnx")
    built = build(model, RTX)
    assert built.path == tmp_path / "street.plan"
    assert files(tmp_path) == ["street.onnx", "street.plan", "street.plan.json"]
    read, data = sidecar.read_plan(built.path)
    assert read == built.sidecar
    assert len(data) == built.size
    assert read.card == segopt.read_card(model)
    assert read.plan == sidecar.PlanRecord(
        sha256=sidecar.sha256_of(data),
        runtime="tensorrt-rtx",
        version=trt.__version__,
        gpu="",
        compute_capabilities=("8.0", "8.6", "8.9", "12.0", "12.1"),
        hardware_compatible=False,
        version_compatible=False,
        half_share=0.0,
        segopt=segopt.__version__,
        model="street.onnx",
        options=(),
    )


def test_what_shaped_the_plan_is_recorded(semantic_engine, tmp_path):
    options = BuildOptions(
        runtime="tensorrt-rtx",
        output=tmp_path / "out" / "a.plan",
        workspace=512 << 20,
        compute_capabilities=("8.6", "8.9"),
        optimization_level=1,
    )
    plan = build(semantic_engine, options).sidecar.plan
    assert plan.compute_capabilities == ("8.6", "8.9")
    words = "--workspace 512MiB --compute-capability 8.6,8.9 --optimization-level 1"
    assert plan.options == tuple(words.split())
    assert f"semantic.onnx {words} --output" in plan.rebuild_command(tmp_path / "out" / "a.plan")


@pytest.mark.parametrize(
    ("precision", "tf32", "allowed"), [("fp32", False, False), ("fp32", True, True), ("fp16", False, True)]
)
def test_a_model_in_fp32_multiplies_in_fp32_unless_tf32_is_allowed(semantic_engine, precision, tf32, allowed):
    flavor = find_flavor("tensorrt-rtx")
    config = start(flavor, flavor.module.Builder).create_builder_config()
    card = dataclasses.replace(segopt.read_card(semantic_engine), precision=precision)
    assert config.get_flag(trt.BuilderFlag.TF32), "else this test shows nothing"
    BuildOptions(tf32=tf32).apply(flavor, config, card)
    assert config.get_flag(trt.BuilderFlag.TF32) == allowed
    assert BuildOptions(tf32=tf32).arguments() == (("--tf32",) if tf32 else ())


def test_a_plan_of_rtx_allocates_nothing_while_it_executes(semantic_engine):
    """Else its stream cannot be captured."""
    flavor = find_flavor("tensorrt-rtx")
    config = start(flavor, flavor.module.Builder).create_builder_config()
    BuildOptions().apply(flavor, config, segopt.read_card(semantic_engine))
    assert config.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


def test_steps_and_phases_are_shown_in_order(semantic_engine):
    shown = []

    class Steps:
        def __init__(self, text):
            self.text = text

        def __enter__(self):
            shown.append(self.text)
            return self

        def __exit__(self, *_):
            shown.append("done")

        def start(self, phase, parent, steps):
            shown.append((phase, parent))
            assert steps > 0

        def step(self, phase):
            assert any(entry[0] == phase for entry in shown)

        def finish(self, phase):
            pass

    build(semantic_engine, RTX, step=Steps, phases=Steps)
    assert shown[0].startswith("check: ONNX Runtime")
    assert shown[2].startswith("network: ONNX to TensorRT-RTX")
    assert shown[4].startswith("plan: TensorRT-RTX")
    assert ("Building engine", None) in shown
    assert shown[-1] == "done"


def test_a_file_that_was_made_for_the_cpu_gets_a_note(tmp_path):
    model = tiny.panoptic_engine(tmp_path / "a.onnx")
    assert any("--target tensorrt" in note for note in build(model, RTX).notes)
    with_card(model, target="tensorrt")
    assert build(model, RTX).notes == []


def test_suppression_that_does_not_converge_on_a_synthetic_image_is_a_note(tmp_path):
    model = tiny.panoptic_engine(tmp_path / "a.onnx", converged=False)
    assert any("--suppression-steps" in note for note in build(model, RTX).notes)


def test_without_onnx_runtime_it_builds_untried_and_says_so(semantic_engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # Python's own way to say: not there.
    built = build(semantic_engine, RTX)
    assert any("not tried out before the build: ONNX Runtime is not installed" in note for note in built.notes)
    assert built.path.exists()


def test_it_builds_from_a_thread_that_gets_no_signals(semantic_engine):
    built = []
    thread = threading.Thread(target=lambda: built.append(build(semantic_engine, RTX)))
    thread.start()
    thread.join()
    assert built[0].path.exists()


# What is refused; nothing is written, and what was there stays.


@pytest.fixture
def untouched(tmp_path):
    """An older plan and sidecar that must outlive every failure."""
    for name in ("a.plan", "a.plan.json"):
        (tmp_path / name).write_bytes(b"older")
    yield tmp_path / "a.plan"
    assert files(tmp_path) == ["a.onnx", "a.plan", "a.plan.json"]
    assert {(tmp_path / name).read_bytes() for name in ("a.plan", "a.plan.json")} == {b"older"}


def refuse(error, pattern, model, options=RTX):
    with pytest.raises(error, match=pattern) as caught:
        build(model, options)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("untouched")
def test_data_dependent_operators_are_named_with_their_node(tmp_path):
    model = tiny.semantic_engine(tmp_path / "a.onnx")

    def edit(model):
        graph = model.graph
        graph.node.append(helper.make_node("NonZero", ["bright"], ["found"], name="find_pixels"))
        graph.output.append(helper.make_tensor_value_info("found", TensorProto.INT64, [3, None]))

    edited(model, edit)
    with pytest.raises(
        EngineError, match=r"a\.onnx: TensorRT-RTX \S+ does not take node find_pixels \(NonZero\): "
    ) as e:
        parse(find_flavor("tensorrt-rtx"), model)
    assert "shapes depend on the data" in str(e.value)
    assert "\n" not in str(e.value)


def test_types_that_do_not_match_are_named_with_their_node(tmp_path, untouched):
    model = tiny.semantic_engine(tmp_path / "a.onnx")
    edited(
        model, lambda m: m.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("to", TensorProto.FLOAT16))
    )
    with pytest.raises(EngineError, match=r"\(Greater\): .*same input types.* Half and Float") as caught:
        parse(find_flavor("tensorrt-rtx"), model)
    for noise in ("\n", "/_src/", "cudaError", "Error Code"):
        assert noise not in str(caught.value), str(caught.value)
    assert untouched.exists()


@pytest.mark.usefixtures("untouched")
def test_what_the_builder_cannot_do_is_said_in_its_words(tmp_path):
    """TensorRT's TopK takes 3840 at most, which only the build finds out."""
    model = tiny.semantic_engine(tmp_path / "a.onnx", canvas=(64, 96))

    def edit(model):
        graph = model.graph
        graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "flat"))
        graph.initializer.append(numpy_helper.from_array(np.array([5000], np.int64), "k"))
        graph.node.append(helper.make_node("Reshape", ["mean", "flat"], ["row"]))
        graph.node.append(helper.make_node("TopK", ["row", "k"], ["top", "where"], name="best"))
        graph.output.append(helper.make_tensor_value_info("top", TensorProto.FLOAT, [5000]))

    refuse(
        EngineError,
        r"cannot build it: .*best.*K exceeds the maximum .*3840.*; .*--candidates",
        edited(model, edit),
    )


@pytest.mark.usefixtures("untouched")
def test_numbers_that_are_none_are_found_before_the_build(tmp_path):
    model = tiny.panoptic_engine(tmp_path / "a.onnx")

    def edit(model):
        (node,) = (n for n in model.graph.node if n.output[0] == "masks")
        values = numpy_helper.to_array(node.attribute[0].t).copy()
        values[0, 0, 3, 3] = np.nan
        node.attribute[0].t.CopyFrom(numpy_helper.from_array(values))

    refuse(EngineError, r"a\.onnx: masks is not finite on a synthetic image", edited(model, edit))


@pytest.mark.usefixtures("untouched")
def test_a_graph_that_breaks_its_cards_promise_is_refused(tmp_path):
    model = with_card(tiny.panoptic_engine(tmp_path / "a.onnx"), max_detections=9)
    refuse(EngineError, r"its card promises boxes as .* the graph has ", model)


@pytest.mark.usefixtures("untouched")
def test_a_card_that_promises_half_precision_is_held_to_it(tmp_path):
    model = with_card(tiny.semantic_engine(tmp_path / "a.onnx"), precision="fp16", half_share=0.97)
    refuse(EngineError, r"its card promises fp16 with 97\.0% .* TensorRT reads 0\.0%", model)


@pytest.mark.usefixtures("untouched")
def test_a_graph_that_onnx_runtime_does_not_load_is_refused(tmp_path):
    model = edited(
        tiny.semantic_engine(tmp_path / "a.onnx"), lambda m: setattr(m.graph.node[0], "op_type", "Nothing")
    )
    refuse(EngineError, r"a\.onnx: ONNX Runtime .* cannot load it", model)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hardware_compatible": True}, "--hardware-compatible is not for TensorRT-RTX .*--compute-capability"),
        ({"version_compatible": True}, "--version-compatible is not for TensorRT-RTX "),
        ({"compute_capabilities": ("8.7",)}, "compute capability 8.7 is none .*8.6, 8.9.*--runtime tensorrt"),
        ({"optimization_level": 6}, "optimization level is 6, and must be from 0 to 5"),
        ({"optimization_level": -1}, "optimization level is -1"),
        ({"workspace": 1000}, "workspace is 1000 bytes"),
        ({"output": Path("model.engine")}, r"model\.engine: the name of a plan ends in \.plan"),
        ({"runtime": "openvino"}, "runtime openvino is unknown"),
    ],
)
def test_options_that_cannot_be_met_are_wrong_usage(tmp_path, options, words):
    model = tiny.semantic_engine(tmp_path / "a.onnx")
    refuse(UsageError, words, model, dataclasses.replace(RTX, **options))


@pytest.mark.usefixtures("untouched")
def test_what_turing_lacks_is_said(tmp_path):
    model = tiny.semantic_engine(tmp_path / "a.onnx")

    def edit(model):
        graph = model.graph
        graph.initializer.append(numpy_helper.from_array(np.ones((64, 64), np.float32), "w"))
        graph.node.append(helper.make_node("MatMul", ["mean", "w"], ["product"], name="product"))
        graph.output.append(helper.make_tensor_value_info("product", TensorProto.FLOAT, [1, 48, 64]))

    options = dataclasses.replace(RTX, compute_capabilities=("7.5",))
    refuse(EngineError, r"Turing \(SM75\).*; leave 7\.5 out of --compute-capability", edited(model, edit), options)


@pytest.fixture
def full_tensorrt(tmp_path, monkeypatch):
    """Let there be a module `tensorrt` of this text, in place of the real one."""

    def call(text):
        monkeypatch.syspath_prepend(tmp_path / "site")
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "tensorrt.py").write_text(text)

    yield call
    sys.modules.pop("tensorrt", None)


@no_gpu
def test_full_tensorrt_without_a_gpu_says_so(tmp_path, full_tensorrt):
    full_tensorrt("__version__ = '10.3.0'")
    model = tiny.semantic_engine(tmp_path / "a.onnx")
    refuse(
        EngineError,
        "no GPU to build for .*TensorRT 10.3.0.*--runtime tensorrt-rtx",
        model,
        BuildOptions("tensorrt"),
    )


OLD_DRIVER = """
__version__ = "10.3.0"
class ILogger:
    def __init__(self): pass
class Builder:
    def __init__(self, logger):
        logger.log(1, "CUDA initialization failure with error: 35. Please check your CUDA installation.")
        raise TypeError("pybind11::init(): factory function returned nullptr")
"""


def test_a_driver_that_is_too_old_says_so(tmp_path, full_tensorrt, monkeypatch):
    monkeypatch.setattr("segopt.builder.build.find_gpu", lambda: Gpu("NVIDIA RTX A2000", "8.6"))
    full_tensorrt(OLD_DRIVER)
    model = with_card(tiny.semantic_engine(tmp_path / "a.onnx"))
    words = "TensorRT 10.3.0 does not start: CUDA initialization failure with error: 35.*; install a newer NVIDIA"
    refuse(EngineError, words, model, BuildOptions("tensorrt"))


def test_on_a_jetson_a_plan_for_other_gpus_is_refused(tmp_path, full_tensorrt, monkeypatch):
    orin = Gpu("Orin", "8.7", integrated=True, board="NVIDIA Jetson AGX Orin Developer Kit")
    monkeypatch.setattr("segopt.builder.build.find_gpu", lambda: orin)
    full_tensorrt("__version__ = '10.3.0'")
    model = tiny.semantic_engine(tmp_path / "a.onnx")
    options = BuildOptions("tensorrt", hardware_compatible=True)
    refuse(
        UsageError, "--hardware-compatible is not for NVIDIA Jetson AGX Orin .*build on each kind", model, options
    )


@no_gpu
def test_a_plan_for_rtx_that_does_not_load_here_is_a_note(semantic_engine, monkeypatch):
    monkeypatch.setattr("segopt.builder.build.find_gpu", lambda: Gpu("NVIDIA RTX A2000", "8.6"))
    built = build(semantic_engine, RTX)
    assert any("does not load here" in note and "newer NVIDIA driver" in note for note in built.notes)
    assert built.path.exists()


def test_a_gpu_that_the_plan_is_not_for_does_not_load_it(semantic_engine, monkeypatch):
    monkeypatch.setattr("segopt.builder.build.find_gpu", lambda: Gpu("NVIDIA H100", "9.0"))
    built = build(semantic_engine, RTX)
    assert (built.runs_here, built.notes) == (False, [])


def test_a_plan_or_a_file_of_others_is_no_input(tmp_path, semantic_engine):
    refuse(UsageError, "is a plan; give the ONNX file", tmp_path / "a.plan")
    refuse(CardError, "no such file", tmp_path / "a.onnx")
    edited(semantic_engine, lambda model: model.ClearField("metadata_props"))
    refuse(CardError, r"not one of segopt's", semantic_engine)


def test_a_folder_that_cannot_be_written_is_found_before_the_build(semantic_engine, tmp_path):
    (tmp_path / "file").touch()
    options = dataclasses.replace(RTX, output=tmp_path / "file" / "a.plan")
    began = []
    with pytest.raises(SinkError, match="cannot be written"):
        build(semantic_engine, options, step=lambda text: began.append(text))
    assert began == []


def test_a_disk_that_fills_up_leaves_the_older_pair(tmp_path):
    model = tiny.semantic_engine(tmp_path / "a.onnx")
    build(model, RTX)
    older = sidecar.read_plan(tmp_path / "a.plan")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        refuse(SinkError, r"a\.plan: cannot be written \(File too large\)", model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sidecar.read_plan(tmp_path / "a.plan") == older
    assert files(tmp_path) == ["a.onnx", "a.plan", "a.plan.json"]


# Stopping.


class Interrupting:
    """Shows phases; presses Ctrl-C when the build proper begins."""

    def start(self, _phase, parent, _steps):
        if parent is None:
            os.kill(os.getpid(), signal.SIGINT)

    def step(self, phase):
        pass

    def finish(self, phase):
        pass


def test_ctrl_c_stops_a_build_and_nothing_is_written(tmp_path, capfd):
    model = tiny.panoptic_engine(tmp_path / "a.onnx")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(model, RTX, phases=lambda _: nullcontext(Interrupting()))
    assert files(tmp_path) == ["a.onnx"]
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr() == ("", "")
    assert build(model, RTX).path.exists()


# Timing caches, which TensorRT-RTX has in name.


def test_timing_caches_of_other_versions_and_gpus_are_other_files(tmp_path):
    flavor = find_flavor("tensorrt-rtx")
    gpu = Gpu("NVIDIA GeForce RTX 4090", "8.9")
    names = {
        timing_cache.cache_path(tmp_path, each, card).name
        for each in (
            flavor,
            dataclasses.replace(flavor, version="1.8.0"),
            dataclasses.replace(flavor, name="tensorrt"),
        )
        for card in (gpu, Gpu("Orin", "8.7"), Gpu("Orin", "8.7", board="AGX"), Gpu("Orin", "8.7", board="Nano"))
    }
    assert len(names) == 12
    assert all(re.fullmatch(r"[A-Za-z0-9.-]+\.timing", name) for name in names)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_timing_cache_is_kept_and_a_broken_one_begins_anew(tmp_path):
    config = trt.Builder(trt.Logger()).create_builder_config()
    path = tmp_path / "times" / "a.timing"
    for content in (None, b"", b"broken"):
        if content is not None:
            path.write_bytes(content)
        timing_cache.attach(config, path)
        timing_cache.save(config, path)
        assert path.exists()


def test_a_timing_cache_that_changes_nothing_is_a_note(semantic_engine, tmp_path):
    built = build(semantic_engine, dataclasses.replace(RTX, timing_cache=tmp_path / "times"))
    assert any("--timing-cache changes nothing with TensorRT-RTX" in note for note in built.notes)
    assert not (tmp_path / "times").exists()
    assert built.sidecar.plan.options == ()


# The command.


def test_the_command_reports_what_was_made(segopt_cli, tmp_path):
    model = tiny.panoptic_engine(tmp_path / "street.onnx")
    status, out, err = segopt_cli("build", model, "--runtime", "tensorrt-rtx", "--compute-capability", "8.9, 8.6")
    assert status == 0, err
    for words in (
        f"{tmp_path}/street.plan  0.",
        f"built with     TensorRT-RTX {trt.__version__}, segopt {segopt.__version__}",
        "built for      GPUs of compute capability 8.9, 8.6",
        "built from     street.onnx",
        "layers in half 0.0%",
        "sidecar        street.plan.json",
        "note           this file was made fast for the CPU",
        f"Next: segopt run --engine {tmp_path}/street.plan SOURCE",
    ):
        assert words in out, out
    assert "done check: ONNX Runtime on a synthetic image" in err
    assert "done plan: TensorRT-RTX" in err
    assert json.loads((tmp_path / "street.plan.json").read_text())["plan"]["compute_capabilities"] == [
        "8.9",
        "8.6",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workspace", "2"], "--workspace 2 is no size; give a number with MiB or GiB"),
        (["--workspace", "2GB"], "--workspace 2GB is no size"),
        (["--compute-capability", "89"], "--compute-capability 89 is no list"),
        (["--compute-capability", "9.9"], "compute capability 9.9 is none that TensorRT-RTX"),
        (["--hardware-compatible"], "--hardware-compatible is not for TensorRT-RTX"),
        (["--optimization-level", "9"], "optimization level is 9"),
    ],
)
def test_the_command_refuses_in_one_line(segopt_cli, semantic_engine, tmp_path, options, words):
    status, out, err = segopt_cli("build", semantic_engine, "--runtime", "tensorrt-rtx", *options)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"segopt: error: .*\n", err), err
    assert words in err
    assert files(tmp_path) == ["semantic.onnx"]


def test_where_there_is_no_tensorrt_the_command_says_how_to_get_one(semantic_engine):
    code = """
import sys
sys.modules["tensorrt_rtx"] = sys.modules["tensorrt"] = None
sys.argv = ["segopt", "build", sys.argv[1]]
from segopt.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, semantic_engine], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"segopt: error: no TensorRT is installed; .*segopt\[rtx\].*segopt\[gpu\].*\n", done.stderr
    )


def test_every_refusal_of_a_flavor_is_about_an_option_of_the_command(segopt_cli):
    _, out, _ = segopt_cli("build", "--help")
    for traits in TRAITS.values():
        for option in (*traits.refused, *traits.ignored):
            assert option in out
