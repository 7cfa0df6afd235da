"""`segopt wrap`: ONNX files that others made become models, and say what their network says."""

import json
import subprocess
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import lively
import segopt
import segopt_export
from segopt_export.networks.table import NETWORKS
from segopt_export.weights.random import enliven

CANVAS = (96, 128)
NAMES = ["road", "sky", "car", "tree"]
LRASPP = "lraspp_mobilenet_v3_large"


class Bright(nn.Module):
    """Class 0 where a pixel is dark, 1 where it is bright; at a quarter of the size, as many networks answer."""

    def __init__(self, channels=2):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        gray = nn.functional.avg_pool2d(x.mean(dim=1, keepdim=True), 4)
        return gray if self.channels == 1 else torch.cat([-gray, gray], dim=1)


class Outputs(nn.Module):
    """Logits, an auxiliary head's, and the label map."""

    def forward(self, x):
        logits = torch.cat([x[:, :1], x[:, 1:2], x[:, 2:]], dim=1)
        return logits, logits * 2, logits.argmax(dim=1)


class Plain(nn.Module):
    """A network that answers with several things, of which one is taken."""

    def __init__(self, model, name):
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x):
        return self.model(x)[self.name]


def exported(module, path, size=CANVAS, *, free=False, names=("logits",)):
    torch.onnx.export(
        module.eval(),
        (torch.zeros(1, 3, *size),),
        path,
        dynamo=False,
        input_names=["x"],
        output_names=list(names),
        dynamic_axes={"x": {0: "n", 2: "h", 3: "w"}} if free else None,
    )
    return path


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.json").write_text('["dark", "bright"]')
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    return tmp_path


def half_bright(size=CANVAS):
    frame = np.zeros((*size, 3), np.uint8)
    frame[:, size[1] // 2 :] = 255
    return frame


def test_the_command_makes_a_model_that_every_verb_takes(segopt_cli):
    exported(Bright(), "mine.onnx")
    status, out, err = segopt_cli("wrap", "mine.onnx", "--classes", "two.json", "--output", "w.onnx")
    assert status == 0, err
    assert "label map: 100.000% of pixels equal" in out
    assert "note" in out
    assert "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225, ImageNet's" in out
    assert "--colors rgb" in out
    cv2.imwrite("frame.png", half_bright())
    assert segopt_cli("run", "--engine", "w.onnx", "frame.png", "--output", "out")[0] == 0
    status, out, _ = segopt_cli("info", "w.onnx")
    assert status == 0
    assert "mine" in out
    with segopt.load("w.onnx") as segmenter:
        assert [segmenter.names[i] for i in (0, 1)] == ["dark", "bright"]
        classes = segmenter(half_bright()).classes
    assert (classes[:, :60] == 0).all()
    assert (classes[:, 68:] == 1).all()


def test_without_pytorch_it_works():
    exported(Bright(), "mine.onnx")
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['torchvision'] = None\n"
        "import segopt_export\n"
        "print(segopt_export.wrap('mine.onnx', classes='two.json', output='w.onnx').figures[0].text)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "100.000% of pixels equal\n", done.stderr


def test_one_channel_is_a_class_beside_the_background():
    exported(Bright(1), "mine.onnx")
    segopt_export.wrap("mine.onnx", classes="two.json", output="w.onnx")
    with segopt.load("w.onnx") as segmenter:
        assert set(np.unique(segmenter(half_bright()).classes)) == {0, 1}


def test_channels_that_an_exporter_left_free_are_three():
    exported(Bright(), "mine.onnx", free=True)
    model = onnx.load("mine.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "num_channels"
    onnx.save(model, "mine.onnx")
    made = segopt_export.wrap("mine.onnx", classes="two.json", size=CANVAS, output="w.onnx")
    assert made.card.canvas == CANVAS


@pytest.mark.parametrize(
    ("options", "canvas"),
    [({"size": (64, 96)}, (64, 96)), ({"size": "192x256", "network_size": "96x128"}, (192, 256))],
)
def test_free_sides_are_fixed_and_a_canvas_may_be_larger_than_the_network(options, canvas):
    exported(Bright(), "mine.onnx", free=True)
    made = segopt_export.wrap("mine.onnx", classes="two.json", output="w.onnx", batch=2, **options)
    assert (made.card.canvas, made.card.batch) == (canvas, 2)
    with segopt.load("w.onnx") as segmenter:
        for result in segmenter([half_bright(canvas)] * 2):
            assert (result.classes[:, -8:] == 1).all()
            assert (result.classes[:, :8] == 0).all()


@pytest.mark.parametrize(("colors", "mean"), [("rgb", (0.9, 0.5, 0.1)), ("bgr", (0.9, 0.5, 0.1))])
@pytest.mark.parametrize("last", [False, True])
def test_colors_and_normalization_are_as_said(place, colors, mean, last):
    """A network whose classes are its channels: the largest after normalization wins."""
    sides = [1, 8, 8, 3] if last else [1, 3, 8, 8]
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2] if last else [0, 1, 2, 3])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, sides)], [value("y", TensorProto.FLOAT, [1, 3, 8, 8])]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "mine.onnx")
    (place / "three.json").write_text('["first", "second", "third"]')
    segopt_export.wrap(
        "mine.onnx", classes="three.json", colors=colors, mean=mean, std=(0.5, 0.25, 0.125), output="w.onnx"
    )
    pixel = np.array([30, 140, 250])  # B, G, R
    normal = (pixel[::-1] / 255 - mean) / (0.5, 0.25, 0.125)
    expected = np.argmax(normal if colors == "rgb" else normal[::-1])
    with segopt.load("w.onnx") as segmenter:
        assert (segmenter(np.full((8, 8, 3), pixel, np.uint8)).classes == expected).all()


def test_of_several_outputs_one_is_chosen(place):
    exported(Outputs(), "mine.onnx", names=("logits", "aux", "map"))
    (place / "three.json").write_text('["a", "b", "c"]')
    with pytest.raises(segopt.SegoptError) as error:
        segopt_export.wrap("mine.onnx", classes="three.json")
    assert str(error.value) == (
        "mine.onnx: several outputs could be meant: logits (semantic-logits), aux (semantic-logits), "
        "map (semantic-map); choose with --take NAME or --as KIND"
    )
    maps = []
    for options in ({"take": "logits"}, {"kind": "semantic-map"}):
        made = segopt_export.wrap("mine.onnx", classes="three.json", output="w.onnx", **options)
        with segopt.load(made.path) as segmenter:
            maps.append(segmenter(lively.pictures(1, CANVAS)[0].numpy()).classes)
    assert len(np.unique(maps[0])) == 3
    np.testing.assert_array_equal(*maps)


@pytest.mark.slow
def test_a_plainly_exported_network_of_torchvision_equals_our_export():
    torch.manual_seed(0)
    model = NETWORKS[LRASPP].build(4).eval()
    enliven(model, size=CANVAS)
    torch.save(model.state_dict(), "w.pth")

    exported(Plain(model, "out"), "plain.onnx")
    own = segopt_export.export(
        "semantic", network=LRASPP, weights="w.pth", classes="names.json", size=CANVAS, output="own.onnx",
        target="cpu", precision="fp32",
    )  # fmt: skip
    wrapped = segopt_export.wrap("plain.onnx", classes="names.json", output="wrapped.onnx")
    frames = lively.pictures(3, CANVAS, seed=5).numpy()
    with segopt.load(own.path) as first, segopt.load(wrapped.path) as second:
        maps = [[each(frame).classes for frame in frames] for each in (first, second)]
    assert len(np.unique(maps[0])) > 1
    assert np.mean(np.array(maps[0]) == np.array(maps[1])) >= 0.9999


@pytest.mark.slow
def test_segformer_equals_transformers_own_post_processing():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(num_labels=4, depths=[1, 1, 1, 1])
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.dim() > 1:
                values.mul_(4 if "decode_head" in name else 1.5)

    exported(Plain(model, "logits"), "segformer.onnx")
    made = segopt_export.wrap("segformer.onnx", classes="names.json", output="w.onnx")
    processor = transformers.SegformerImageProcessor(do_resize=False)
    frames = lively.pictures(4, CANVAS, seed=2).numpy()
    with segopt.load(made.path) as segmenter, torch.no_grad():
        found = [segmenter(frame).classes for frame in frames]
        given = processor([frame[..., ::-1].copy() for frame in frames], return_tensors="pt")
        answer = model(given["pixel_values"])
        expected = processor.post_process_semantic_segmentation(answer, target_sizes=[CANVAS] * len(frames))
    assert len(np.unique(found)) > 2
    assert np.mean(np.array(found) == np.stack([each.numpy() for each in expected])) >= 0.999


def test_it_becomes_a_plan():
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install 'segopt[rtx]')")
    exported(Bright(), "mine.onnx")
    made = segopt_export.wrap("mine.onnx", classes="two.json", target="tensorrt", output="w.onnx")
    assert not [note for note in made.notes if "TensorRT" in note]
    assert segopt.build(made.path, runtime="tensorrt-rtx").path.exists()


def tiny_file(path, nodes, *, inputs=None, outputs=None, opsets=(("", 17),), **options):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        inputs or [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        outputs or [value("y", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    imports = [helper.make_opsetid(*each) for each in opsets]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path, **options)


def foreign(place, what):
    node, value = helper.make_node, helper.make_tensor_value_info
    path = place / "mine.onnx"
    identity = [node("Identity", ["x"], ["y"])]
    if what == "nothing":
        return
    if what == "no onnx":
        path.write_bytes(b"\x89PNG\r\n" * 20)
    elif what == "ours":
        exported(Bright(), place / "b.onnx")
        segopt_export.wrap(place / "b.onnx", classes="two.json", output=path)
    elif what == "custom":
        tiny_file(
            path, [node("Fancy", ["x"], ["y"], domain="my.ops", name="n7")], opsets=(("", 17), ("my.ops", 1))
        )
    elif what == "data-dependent":
        tiny_file(
            path, [node("NonZero", ["x"], ["y"], name="n8")], outputs=[value("y", TensorProto.INT64, [4, None])]
        )
    elif what == "two inputs":
        inputs = [value(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "z")]
        tiny_file(path, [node("Add", ["x", "z"], ["y"])], inputs=inputs)
    elif what == "gray":
        tiny_file(path, identity, inputs=[value("x", TensorProto.FLOAT, [1, 1, 8, 8])],
                  outputs=[value("y", TensorProto.FLOAT, [1, 1, 8, 8])])  # fmt: skip
    elif what == "free":
        tiny_file(path, identity, inputs=[value("x", TensorProto.FLOAT, [1, 3, None, None])],
                  outputs=[value("y", TensorProto.FLOAT, None)])  # fmt: skip
    elif what == "vector":
        tiny_file(path, [node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
                  outputs=[value("y", TensorProto.FLOAT, [1, 3])])  # fmt: skip
    elif what == "outside":
        (place / "deep").mkdir()
        tensor = onnx.numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")
        graph = helper.make_graph(
            [node("Conv", ["x", "w"], ["y"])], "g", [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
            [value("y", TensorProto.FLOAT, [1, 3, 8, 8])], [tensor],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
        data = path.read_bytes().replace(b"w.bin", b"../w.")
        (place / "deep" / "mine.onnx").write_bytes(data)
        path.unlink()
        (place / "deep" / "mine.onnx").rename(path)
    else:
        tiny_file(path, identity)


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        ("nothing", {}, ["mine.onnx", "cannot be read"]),
        ("no onnx", {}, ["mine.onnx", "no ONNX file"]),
        ("ours", {}, ["is a model of segopt already"]),
        ("custom", {}, ["my.ops.Fancy", "n7"]),
        ("data-dependent", {}, ["NonZero", "n8"]),
        ("two inputs", {}, ["2 inputs (x, z)"]),
        ("gray", {}, ["its input x is float [1, 1, 8, 8]"]),
        ("free", {}, ["leaves the size of its pictures free; give --size"]),
        ("vector", {}, ["none of its outputs is", "y float [1, 3]"]),
        ("outside", {}, ["external data"]),
        ("plain", {"take": "z"}, ["has no output 'z'; it has y float [1, 3, 8, 8]"]),
        ("plain", {"kind": "semantic-map"}, ["none of its outputs is whole numbers"]),
        ("plain", {"batch": 2}, ["takes 1 pictures at once", "--batch 1"]),
        ("plain", {"classes": "names.json"}, ["has 4 classes and the weights have 3"]),
        ("plain", {"classes": "none.json"}, ["none.json"]),
        ("plain", {"mean": "1,2"}, ["--mean 1,2: give three numbers"]),
        ("plain", {"mean": "123.675,116.28,103.53"}, ["scaled to 0..1"]),
        ("plain", {"std": "0,1,1"}, ["std 0,1,1"]),
        ("plain", {"size": "8"}, ["--size 8 is no size; give HEIGHTxWIDTH in pixels"]),
        ("plain", {"colors": "hsv"}, ["--colors hsv is unknown; give one of rgb, bgr"]),
        ("plain", {"output": "names.json"}, ["names.json", "no file that segopt exported"]),
    ],
)
def test_what_cannot_be_wrapped_is_one_line_and_writes_nothing(place, what, options, words):
    (place / "three.json").write_text('["a", "b", "c"]')
    foreign(place, what)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    with pytest.raises(segopt.SegoptError) as error:
        segopt_export.wrap("mine.onnx", **{"classes": "three.json", **options})
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def test_the_contract_holds():
    exported(Bright(), "mine.onnx")
    made = segopt_export.wrap("mine.onnx", classes="two.json", output="w.onnx")
    session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("image", "tensor(uint8)", [1, 96, 128, 3])
    ]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("semantic", "tensor(uint8)", [1, 96, 128])
    ]
    assert made.card.networks == {"semantic": "mine"}
    assert made.card.weights["semantic"].name == "mine.onnx"
