"""OpenVINO gives what ONNX Runtime gives, and says in one line what it cannot do."""

import sys
from collections import Counter
from xml.etree import ElementTree

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import segopt
import tiny
from segopt.backends import open_backend
from segopt.backends.openvino import OpenVinoBackend
from segopt.backends.openvino_bf16 import read_in_bf16, to_bf16
from segopt.backends.openvino_compile import Settings, compile_model
from segopt.device import parse_device
from segopt.errors import EngineError, UsageError
from segopt.files import cache

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install 'segopt[openvino]')")


MAKERS = {
    "semantic": tiny.semantic_engine,
    "instance": tiny.instance_engine,
    "panoptic": tiny.panoptic_engine,
    "queries": tiny.queries_engine,
}


@pytest.fixture(params=MAKERS)
def model(request, tmp_path):
    return MAKERS[request.param](tmp_path / f"{request.param}.onnx")


def test_results_equal_those_of_onnx_runtime(model):
    with segopt.load(model, device="cpu") as one, segopt.load(model, device="openvino", threads=1) as other:
        frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        assert "OpenVINO" in repr(other)
        assert one(frame) == other(frame)


def test_outputs_belong_to_the_caller(model):
    backend = open_backend(model, "openvino")
    image = {"image": np.zeros(backend.inputs["image"].shape, np.uint8)}
    first = backend.infer(image)
    kept = {name: array.copy() for name, array in first.items()}
    backend.infer({"image": np.full_like(image["image"], 255)})
    assert all(np.array_equal(first[name], kept[name]) for name in first)
    for name, spec in backend.outputs.items():
        assert (first[name].dtype, first[name].shape) == (spec.dtype, spec.shape)
    backend.close()
    backend.close()
    with pytest.raises(EngineError, match="was closed"):
        backend.infer(image)


def images(model, count):
    shape = open_backend(model, "cpu").inputs["image"].shape
    return [np.random.default_rng(i).integers(0, 256, shape, np.uint8) for i in range(count)]


def expected(model, images):
    backend = open_backend(model, "cpu")
    return [backend.infer({"image": image}) for image in images]


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5)


def test_inferences_overlap_and_each_has_its_own_answer(model):
    backend = open_backend(model, "openvino", threads=2, hint="throughput")
    pictures = images(model, 3 * backend.depth + 1)
    pending = []
    for picture in pictures:
        given = picture.copy()
        pending.append(backend.submit({"image": given}))
        given.fill(0)
    for each, wanted in zip(pending, expected(model, pictures), strict=True):
        assert_same(each.result(), wanted)
        assert each.result() is each.result()
    backend.close()


def test_a_call_between_others_that_are_under_way_does_not_disturb_them(model):
    backend = open_backend(model, "openvino", threads=2, hint="throughput")
    pictures = images(model, 4)
    wanted = expected(model, pictures)
    first = backend.submit({"image": pictures[0]})
    second = backend.submit({"image": pictures[1]})
    assert_same(backend.infer({"image": pictures[2]}), wanted[2])
    assert_same(second.result(), wanted[1])
    assert_same(first.result(), wanted[0])
    left = backend.submit({"image": pictures[3]})
    backend.close()
    backend.close()
    assert_same(left.result(), wanted[3])
    with pytest.raises(EngineError, match="was closed"):
        backend.submit({"image": pictures[0]})


def test_with_the_latency_hint_one_is_under_way(model):
    backend = open_backend(model, "openvino")
    (picture,) = images(model, 1)
    assert backend.depth == 1
    assert_same(backend.submit({"image": picture}).result(), expected(model, [picture])[0])


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_inputs_that_do_not_fit_are_one_line(model, hint):
    backend = open_backend(model, "openvino", hint=hint)
    for image in (np.zeros((1, 2, 2, 3), np.uint8), np.zeros(backend.inputs["image"].shape, np.float32)):
        with pytest.raises(EngineError, match=r"takes image as uint8.*, and was given"):
            backend.submit({"image": image})


@pytest.mark.parametrize(
    ("settings", "threads", "hint"),
    [(Settings(threads=1), 1, "LATENCY"), (Settings(threads=2, hint="throughput"), 2, "THROUGHPUT")],
)
def test_threads_and_hint_reach_openvino(model, settings, threads, hint):
    compiled = compile_model(openvino, openvino.Core(), model, settings)
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert compiled.get_property("PERFORMANCE_HINT") == hint
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32


def test_an_unknown_hint_is_one_line(model):
    with pytest.raises(UsageError, match="hint speed: is neither latency nor throughput"):
        segopt.load(model, device="openvino", hint="speed")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGOPT_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_a_compiled_model_is_kept_and_answers_the_same(model, kept, monkeypatch):
    (picture,) = images(model, 1)
    first = open_backend(model, "openvino").infer({"image": picture})
    (file,) = kept.iterdir()
    monkeypatch.setattr(openvino.Core, "compile_model", None)
    assert_same(open_backend(model, "openvino").infer({"image": picture}), first)
    assert [file] == list(kept.iterdir())


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:-4] + b"\0\1\2\3"])
def test_a_damaged_one_is_compiled_again(model, kept, damage):
    (picture,) = images(model, 1)
    first = open_backend(model, "openvino").infer({"image": picture})
    (file,) = kept.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert cache.read(file.stem) is None
    assert_same(open_backend(model, "openvino").infer({"image": picture}), first)
    assert cache.read(file.stem) is not None


def test_one_that_openvino_does_not_read_is_compiled_again(model, kept):
    (picture,) = images(model, 1)
    first = open_backend(model, "openvino").infer({"image": picture})
    (file,) = kept.iterdir()
    cache.keep(file.stem, b"of another kind")
    assert_same(open_backend(model, "openvino").infer({"image": picture}), first)
    assert cache.read(file.stem) != b"of another kind"


def test_other_files_and_settings_have_their_own(model, kept, tmp_path):
    for settings in (Settings(), Settings(threads=1), Settings(hint="throughput"), Settings()):
        OpenVinoBackend(model, settings)
    OpenVinoBackend(tiny.semantic_engine(tmp_path / "other.onnx", canvas=(32, 32)))
    assert len(list(kept.iterdir())) == 4


def half_model(path):
    """A convolution in half between two operations in single precision, and the model's own answer of it."""
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["image"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["single"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "weight"], ["layer"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["layer"], ["positive"]),
        helper.make_node("Cast", ["positive"], ["back"], to=TensorProto.FLOAT),
        helper.make_node("Exp", ["back"], ["exp"]),
        helper.make_node("Mul", ["exp", "scale"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 4, 8, 8])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.float32(1 / 255), "scale")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def typed_nodes(model):
    """Operations, constants and ends apart, each with the type of its first output."""
    left_out = ("Constant", "Parameter", "Result")
    for node in model.get_ops():
        if node.get_type_name() not in left_out:
            yield node, node.get_output_element_type(0).get_type_name()


def types_of(model):
    return {node.get_friendly_name(): kind for node, kind in typed_nodes(model)}


def test_what_is_half_becomes_bf16_and_nothing_else(tmp_path):
    path = half_model(tmp_path / "half.onnx")
    core = openvino.Core()
    before, after = types_of(core.read_model(path)), types_of(read_in_bf16(openvino, core, path))
    assert after == {name: "bf16" if kind == "f16" else kind for name, kind in before.items()}
    assert {name for name, kind in after.items() if kind == "bf16"} == {"half", "layer", "positive"}
    assert after["exp"] == after["answer"] == after["scaled"] == "f32"


def test_the_retyped_graph_answers_within_bf16s_rounding(tmp_path):
    path = half_model(tmp_path / "half.onnx")
    core = openvino.Core()
    image = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    answers = [
        core.compile_model(model, "CPU", {"EXECUTION_MODE_HINT": "ACCURACY"})([image])[0]
        for model in (core.read_model(path), read_in_bf16(openvino, core, path))
    ]
    np.testing.assert_allclose(answers[1], answers[0], rtol=0.1)
    assert not np.array_equal(*answers)


@pytest.mark.slow
def test_of_a_real_network_boxes_and_scores_stay_in_single_precision(exported):
    path = exported("panoptic", precision="fp16", canvas=(64, 96))
    core = openvino.Core()
    before, after = (
        Counter((node.get_type_name(), kind.replace("bf16", "f16")) for node, kind in typed_nodes(model))
        for model in (core.read_model(path), read_in_bf16(openvino, core, path))
    )
    assert after == before
    by_operation = {}
    model = read_in_bf16(openvino, core, path)
    for node, kind in typed_nodes(model):
        by_operation.setdefault(node.get_type_name(), set()).add(kind)
    assert "f16" not in set().union(*by_operation.values())
    assert by_operation["Convolution"] == {"bf16"}
    for geometry in ("Softmax", "Sigmoid", "Exp", "Divide", "GatherElements"):
        assert by_operation[geometry] - {"i64"} == {"f32"}
    # The label map's argmax alone is of rounded logits, as in the FP16 file.
    assert sum(kind == "bf16" for node, kind in typed_nodes(model) if node.get_type_name() == "TopK") == 1


def test_bf16_is_the_nearest_and_the_even_one_of_two():
    values = np.array([1, -2, 0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-9, 65504, 2**-24], np.float16)
    bits = to_bf16(values).astype(np.uint32) << 16
    found = bits.view(np.float32)
    assert found.tolist() == [1, -2, 0, 1, 1 + 2**-6, 1, 65536, 2**-24]


def test_retyping_leaves_what_shares_its_bytes_with_half_alone():
    from segopt.backends.openvino_bf16 import retype

    constant = '<layer type="Const"><data element_type="{}" offset="0" size="4"/></layer>'
    root = ElementTree.fromstring(f"<net>{constant.format('f16')}{constant.format('i32')}</net>")
    weights = np.array([1.0, 2.0], np.float16).view(np.uint8)
    data = retype(root, weights)
    half, whole = (each.attrib for each in root.iter("data"))
    assert (whole["element_type"], whole["offset"]) == ("i32", "0")
    np.testing.assert_array_equal(data[:4], weights)
    at = int(half["offset"])
    assert half["element_type"] == "bf16"
    assert at % 64 == 0
    assert data[at : at + 4].view(np.uint16).tolist() == [0x3F80, 0x4000]


def test_bf16_on_a_cpu_without_it_is_one_line(model):
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has bf16")
    with pytest.raises(UsageError, match=r"bf16: OpenVINO's CPU \(.*\) computes in FP32.*leave the option out"):
        segopt.load(model, device="openvino", inference_precision="bf16")


def test_bf16_of_a_file_without_half_is_one_line(model):
    with pytest.raises(UsageError, match=r"has no half precision in it.*--precision fp16"):
        read_in_bf16(openvino, openvino.Core(), model)


@pytest.mark.parametrize(
    ("device", "precision", "text"),
    [
        ("cpu", "bf16", "is OpenVINO's, and the device is cpu; add --device openvino"),
        ("auto", "f32", "is OpenVINO's, and the device is auto"),
        ("openvino", "f16", "--inference-precision f16: is neither f32 nor bf16"),
    ],
)
def test_a_precision_that_goes_with_nothing_is_one_line(model, device, precision, text):
    with pytest.raises(UsageError, match=text):
        segopt.load(model, device=device, inference_precision=precision)


def test_f32_on_a_cpu_that_has_bf16_says_what_it_could_be(model, monkeypatch):
    monkeypatch.setattr("segopt.backends.openvino.has_bf16", lambda *_: True)
    with segopt.load(model, device="openvino") as segmenter:
        assert "run with --inference-precision bf16" in segmenter.notes[0]


@pytest.mark.parametrize(
    ("text", "target"),
    [("openvino", "CPU"), ("openvino:CPU", "CPU"), ("openvino:GPU", "GPU"), ("openvino:GPU.1", "GPU.1")],
)
def test_a_device_is_named_as_openvino_names_it(text, target):
    assert (parse_device(text).kind, parse_device(text).target) == ("openvino", target)


@pytest.mark.parametrize("text", ["openvino:", "openvino:TPU", "openvino:gpu", "openvino:GPU.x", "cpu:1"])
def test_other_names_are_refused(text):
    with pytest.raises(UsageError, match=r"is unknown; it is one of .*openvino:NPU"):
        parse_device(text)


@pytest.mark.skipif("NPU" in str(openvino.Core().available_devices), reason="this machine has an NPU")
def test_a_device_that_is_not_there_is_one_line(model):
    with pytest.raises(EngineError, match=r"finds no NPU on this machine; it has CPU$"):
        segopt.load(model, device="openvino:NPU")


def test_without_openvino_the_extra_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=r"pip install 'segopt\[openvino\]'"):
        segopt.load(model, device="openvino")


def test_a_plan_is_not_for_it(tmp_path):
    with pytest.raises(UsageError, match="runs on a GPU alone, NVIDIA's; for --device openvino"):
        open_backend(tmp_path / "street.plan", "openvino")


def test_several_files_at_once_are_written_whole_and_in_order(model, tmp_path, segopt_cli):
    for k in range(2):
        (tmp_path / f"source-{k}").mkdir()
        for i in range(9):
            picture = np.random.default_rng(10 * k + i).integers(0, 256, (48, 64, 3), np.uint8)
            cv2.imwrite(str(tmp_path / f"source-{k}" / f"{i}.png"), picture)
    sources = [tmp_path / f"source-{k}" for k in range(2)]
    answers = []
    for device in ("cpu", "openvino"):
        out = tmp_path / device
        options = ["--engine", model, "--output", out, "--save", "jsonl", "--device", device, "--threads", 2]
        status, _, err = segopt_cli("run", *sources, *options)
        assert status == 0, err
        answers.append({path.relative_to(out): path.read_text() for path in sorted(out.rglob("*.jsonl"))})
    assert answers[0] == answers[1]
    assert len(answers[0]) == 2
