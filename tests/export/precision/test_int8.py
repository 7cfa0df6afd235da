"""INT8: which layers are quantized, in which types, and what noise that makes."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from segopt.errors import ExportError
from segopt_export.exporter import example_image
from segopt_export.networks.mobilenet import maskrcnn_mobilenet_v3_small_fpn
from segopt_export.onnx_file.tensorrt_rules import refusals
from segopt_export.onnx_file.tracing import trace
from segopt_export.precision.choosing import parted
from segopt_export.precision.half import in_half
from segopt_export.precision.int8 import SCHEMES, Quantizer, quantize
from segopt_export.precision.layers import LAYERS, last_layers
from segopt_export.precision.noise import MAX_NOISE, added_noise
from segopt_export.precision.residuals import MAX_SHORTCUT_NOISE, quantize_shortcuts
from segopt_export.precision.switches import Switchable
from segopt_export.static.maskrcnn import StaticMaskRCNN

pytestmark = pytest.mark.slow

CANVAS = (64, 96)


class Chain(nn.Module):
    """Four convolutions on a frame; ``scale`` of the second one's channels are far larger than the rest."""

    def __init__(self, scale):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)  # The layers' biases are PyTorch's own.
        self.layers = nn.ModuleList(nn.Conv2d(c, 16, 3, padding=1) for c in (3, 16, 16, 16))
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / 8)
            self.layers[1].weight[:2] *= scale
            self.layers[2].weight[:, :2] /= scale

    def forward(self, image):
        x = image.to(torch.float32).permute(0, 3, 1, 2) / 255 - 0.5
        for layer in self.layers:
            x = layer(x).relu()
        return (x.mean(dim=1).argmax(dim=1).to(torch.uint8),)


class Blocks(nn.Module):
    """Two residual blocks: one adds its input, the other a projection of it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        sides = {
            "stem": (3, 8, 3),
            "first": (8, 8, 3),
            "second": (8, 16, 3),
            "projection": (8, 16, 1),
            "last": (16, 16, 1),
        }
        for name, (before, after, side) in sides.items():
            self.add_module(name, nn.Conv2d(before, after, side, padding=side // 2))

    def forward(self, image):
        x = (image.to(torch.float32).permute(0, 3, 1, 2) / 255 - 0.5).to(self.stem.weight.dtype)
        x = self.stem(x).relu()
        x = (self.first(x) + x).relu()
        x = (self.second(x) + self.projection(x)).relu()
        return (self.last(x).float().mean(dim=1).argmax(dim=1).to(torch.float32).to(torch.uint8),)


@pytest.fixture(scope="module")
def images():
    return [image[None].numpy() for image in example_image(4, CANVAS)]


def traced(module, name="semantic"):
    return trace(module.eval(), example_image(1, CANVAS), [name])


@pytest.fixture(scope="module")
def chain():
    return traced(Chain(1.0))


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    module = StaticMaskRCNN(maskrcnn_mobilenet_v3_small_fpn(4).eval(), CANVAS)
    image = torch.zeros(1, 3, *CANVAS)
    return trace(module, image, module.output_names)


def weights_of(model, names):
    return {node.input[1] for node in model.graph.node if node.name in names}


def test_heads_end_in_the_layers_that_decide(detector):
    assert weights_of(detector, last_layers(detector)) == {
        "proposals.head.cls_logits.weight",
        "proposals.head.bbox_pred.weight",
        "box_predictor.cls_score.weight",
        "box_predictor.bbox_pred.weight",
    }


@pytest.mark.parametrize(("target", "activations"), [("cpu", TensorProto.UINT8), ("tensorrt", TensorProto.INT8)])
def test_each_target_gets_the_integers_it_is_fast_with(target, activations, chain, images):
    model = quantize(chain, images, target).model
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    made_by = {tensor: node for node in model.graph.node for tensor in node.output}
    layers = [node for node in model.graph.node if node.op_type in LAYERS]
    quantized = [node for node in layers if node.name not in last_layers(chain)]
    assert len(quantized) == 3
    for node in quantized:
        data, weight = made_by[node.input[0]], made_by[node.input[1]]
        assert data.op_type == weight.op_type == "DequantizeLinear"
        zero = values[data.input[2]]
        assert zero.data_type == activations
        assert values[weight.input[0]].data_type == TensorProto.INT8
        assert values[weight.input[1]].dims == [16]
        assert (numpy_helper.to_array(values[weight.input[2]]) == 0).all()
        if target == "tensorrt":
            assert numpy_helper.to_array(zero) == 0
            assert values[node.input[2]].data_type == TensorProto.FLOAT


def test_for_tensorrt_nothing_stands_between_a_layer_and_its_activation(chain, images):
    model = quantize(chain, images, "tensorrt").model
    made_by = {tensor: node.op_type for node in model.graph.node for tensor in node.output}
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    before = [made_by[node.input[0]] for node in quantizers if node.input[0] in made_by]
    assert len(before) == 3
    assert not set(before) & set(LAYERS)


def sums_of(model):
    """What each sum of two tensors reads, by operator."""
    made_by = {tensor: node.op_type for node in model.graph.node for tensor in node.output}
    return [[made_by[name] for name in node.input] for node in model.graph.node if node.op_type == "Add"]


def test_for_tensorrt_shortcuts_are_bytes(images):
    blocks = traced(Blocks())
    quantized = quantize(blocks, images, "tensorrt")
    assert quantized.shortcuts == 2
    assert sums_of(quantized.model) == [["Conv", "DequantizeLinear"]] * 2
    onnx.checker.check_model(quantized.model)
    # The kernels of the CPU join no sum.
    assert quantize(blocks, images, "cpu").shortcuts == 0


def test_a_shortcut_that_would_be_too_noisy_stays(images):
    blocks = traced(Blocks())
    for max_noise, sums in ((1e-9, ["Conv", "Conv"]), (MAX_SHORTCUT_NOISE, ["Conv", "DequantizeLinear"])):
        model = onnx.ModelProto()
        model.CopyFrom(blocks)
        assert (
            quantize_shortcuts(blocks, model, images, LAYERS, max_noise=max_noise)
            == sums.count("DequantizeLinear") * 2
        )
        assert sums_of(model)[1] == sums


def test_what_does_not_become_int8_stays_in_half(images):
    half, beyond = in_half(Blocks().eval(), [torch.from_numpy(images[0])])
    assert beyond == {}
    plain = trace(half, torch.from_numpy(images[0]), ["semantic"])
    quantized = quantize(plain, images, "tensorrt")
    assert (quantized.layers, quantized.shortcuts) == (4, 2)
    assert refusals(quantized.model) == []
    values = {tensor.name: tensor for tensor in quantized.model.graph.initializer}
    for node in quantized.model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert values[node.input[1]].data_type == TensorProto.FLOAT16
        if node.op_type in LAYERS:
            assert values[node.input[2]].data_type == TensorProto.FLOAT16
    for model in (plain, quantized.model):
        onnx.checker.check_model(model, full_check=True)
    answers = [
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"image": images[0]}
        )[0]
        for m in (plain, quantized.model)
    ]
    assert np.mean(answers[0] == answers[1]) > 0.6


def test_a_layer_that_loses_too_much_stays_in_floating_point(chain, images):
    assert list(quantize(chain, images, "cpu").float_layers.values()) == ["decides: the last layer of a head"]
    # Two channels a thousand times as large as the others leave these no step of the scale.
    uneven = quantize(traced(Chain(1000.0)), images, "cpu")
    reasons = {name: why for name, why in uneven.float_layers.items() if "noise" in why}
    assert reasons
    assert uneven.layers + len(uneven.float_layers) == 4


def test_noise_is_what_a_layer_adds(chain, images, tmp_path):
    plain, quantized = tmp_path / "plain.onnx", tmp_path / "int8.onnx"
    onnx.save(chain, plain)
    onnx.save(quantize(chain, images, "cpu").model, quantized)
    noise = added_noise(plain, quantized, images)
    assert len(noise) == 3
    assert all(0 < value < MAX_NOISE for value in noise.values())
    # Quantized weights that are far off are the fault of their own layer, and of no later one.
    model = onnx.load(quantized)
    weight = next(t for t in model.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) // 8 * 8, weight.name))
    onnx.save(model, quantized)
    worse = added_noise(plain, quantized, images)
    loudest = max(worse, key=worse.get)
    assert worse[loudest] > 5 * noise[loudest]
    assert {**worse, loudest: 0} == pytest.approx({**noise, loudest: 0}, rel=1e-3)
    spoilt = next(node for node in chain.graph.node if node.name == loudest)
    assert weight.name.startswith(spoilt.input[1])


def test_the_quantized_graph_says_nearly_the_same(chain, images, tmp_path):
    file = tmp_path / "int8.onnx"
    onnx.save(quantize(chain, images, "cpu").model, file)
    answers = [
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"image": images[0]})[0]
        for model in (chain.SerializeToString(), str(file))
    ]
    # Of 64 rows that it chooses among, many are nearly alike: seeds 0 to 4 gave 0.70 to 0.82.
    assert np.mean(answers[0] == answers[1]) > 0.65


def answers_as_they_are(model, image):
    """By ONNX Runtime without its own INT8 kernels: what the pairs say, computed in floating point."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_a_switched_graph_says_what_the_file_of_those_layers_says(target, images):
    blocks = traced(Blocks())
    quantized = quantize(blocks, images, target, max_loss=100)
    assert quantized.layers == 4
    groups = {
        node.input[1]: [node.name]
        for node in blocks.graph.node
        if node.op_type in LAYERS and node.name not in last_layers(blocks)
    }
    with tempfile.TemporaryDirectory() as folder:
        quantizer = Quantizer(Path(folder), blocks, images, target)
        whole = quantizer.without(last_layers(blocks))
        switchable = Switchable(blocks, whole, groups, SCHEMES[target].inputs_alone)
        for count in range(len(groups) + 1):
            on = list(groups)[:count]
            off = [layer for name, layers in groups.items() if name not in on for layer in layers]
            file = quantizer.without([*last_layers(blocks), *off]) if count else blocks
            share = np.mean(switchable(images[0], on)["semantic"] == answers_as_they_are(file, images[0]))
            assert share > 0.98, on


def test_a_bound_keeps_what_loses_and_takes_the_rest(images):
    uneven = traced(Chain(1000.0))
    free = quantize(uneven, images, "cpu", max_loss=100)
    assert free.layers == 3
    assert free.choice.lost > 20
    bound = free.choice.lost / 4
    held = quantize(uneven, images, "cpu", max_loss=bound)
    assert 0 < held.layers < 3
    assert held.choice.lost <= bound
    assert held.choice.layers == held.layers
    assert sum("points alone" in why for why in held.float_layers.values()) == 3 - held.layers
    assert [point.saved for point in held.choice.trade_off] == sorted(p.saved for p in held.choice.trade_off)


def test_a_bound_that_no_layer_meets_is_refused(images):
    with pytest.raises(ExportError, match=r"--int8-loss 1e-06: no layers of this network stay within it"):
        quantize(traced(Chain(1000.0)), images, "cpu", max_loss=1e-6)


def test_of_many_pictures_some_are_held_out():
    few, many = list(range(7)), list(range(32))
    assert parted(few) == (few, few)
    shown, held_out = parted(many)
    assert held_out == [3, 7, 11, 15, 19, 23, 27, 31]
    assert not set(shown) & set(held_out)
    assert len(shown) == 24
