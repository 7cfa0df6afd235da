"""Half precision: nearly every layer computes in it, the answer stays, and what half cannot hold stays in FP32."""

import copy

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lively
from segopt.agreement import HALF, compare, match
from segopt_export.networks.table import NETWORKS
from segopt_export.onnx_file.checks import check_static, half_share
from segopt_export.precision.calibration import LayerCall, measure_ranges
from segopt_export.precision.half import MAX_VALUE, convert_to_half, in_half, layers_beyond_half
from segopt_export.precision.norm_folding import fold_norms

pytestmark = pytest.mark.slow

INSTANCE = lively.parameter("maskrcnn_mobilenet_v3_small_fpn")
_DETECTIONS = ("boxes", "scores", "labels")


@pytest.mark.parametrize("lively_network", [*lively.networks(), lively.FUSION], indirect=True)
def test_every_network_in_half_gives_its_answer(lively_network):
    assert_half_answers(lively_network, "tensorrt")


@pytest.mark.parametrize("lively_network", [lively.FUSION], indirect=True)
def test_half_for_the_cpu_gives_its_answer(lively_network):
    assert_half_answers(lively_network, "cpu")


def assert_half_answers(lively_network, target):
    graph, half = lively_network.graph(target), lively_network.half(target)
    check_static(half.model)
    assert half_share(half.model) >= 0.95
    in_single = 4 * sum(parameter.numel() for parameter in graph.parameters())
    assert half.model.ByteSize() <= 0.5 * in_single + 1_000_000, "weights in half, and the graph itself"

    image = lively.pictures(1, seed=8)
    figures = compare(numpy_of(lively.run_eager(graph, image)), numpy_of(half(image)), HALF)
    assert all(figure.good for figure in figures), figures


def numpy_of(outputs):
    return {name: tensor.numpy() for name, tensor in outputs.items()}


@pytest.mark.parametrize("lively_network", [INSTANCE], indirect=True)
def test_geometry_stays_in_single_precision(lively_network):
    model = lively_network.half().model
    values = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    in_float = {"GridSample", "TopK", "Exp", "Softmax", "Sigmoid", "Greater", "Sqrt", "GlobalAveragePool"}
    for node in model.graph.node:
        if node.op_type in in_float:
            types = {values[name].type.tensor_type.elem_type for name in node.input if name in values}
            assert onnx.TensorProto.FLOAT16 not in types, node.op_type
    assert [o.type.tensor_type.elem_type for o in model.graph.output][:2] == [onnx.TensorProto.FLOAT] * 2


@pytest.mark.parametrize("name", NETWORKS)
def test_no_norm_is_left_behind_a_convolution(name):
    classes = (4, 3) if NETWORKS[name].branch == "panoptic" else (4,)
    with torch.device("meta"):
        model = NETWORKS[name].build(*classes)
    fold_norms(model)
    left = [path for path, module in model.named_modules() if "BatchNorm" in type(module).__name__]
    # This head begins with a norm: no convolution of its own stands before it.
    assert left == (["classifier.0"] if name == "fcn_mobilenet_v3_small_fpn" else [])


@pytest.mark.parametrize("lively_network", [INSTANCE], indirect=True)
def test_a_network_with_folded_norms_says_the_same(lively_network):
    graph = lively_network.graph("tensorrt")
    folded = copy.deepcopy(graph)
    fold_norms(folded)
    image = lively.pictures(1)
    expected, found = lively.run_eager(graph, image), lively.run_eager(folded, image)
    # Detections of nearly the same score may change places.
    ours, theirs = ({name: np.asarray(side[name][0]) for name in _DETECTIONS} for side in (found, expected))
    pairs = match(ours, theirs)
    assert [a for a, _ in pairs] == list(range(len(ours["scores"])))
    order = [b for _, b in pairs]
    np.testing.assert_allclose(ours["scores"], theirs["scores"][order], atol=1e-4)
    np.testing.assert_allclose(ours["boxes"], theirs["boxes"][order], atol=0.02)


def test_the_graph_that_was_given_is_left_as_it_is():
    net = Chain()
    before = copy.deepcopy(net.state_dict())
    half, _ = in_half(net, [torch.ones(1, 3, 8, 8)])
    assert half is not net
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert net(torch.ones(1, 3, 8, 8)).dtype == torch.float32
    assert half(torch.ones(1, 3, 8, 8)).dtype == torch.float16


class Chain(nn.Module):
    """Three 1x1 convolutions whose values can be set: inputs of 1 become ``gains`` multiplied so far."""

    def __init__(self, *gains):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1, groups=3, bias=False) for _ in range(3))
        for conv, gain in zip((self.a, self.b, self.c), gains or (1.0, 1.0, 1.0), strict=True):
            nn.init.constant_(conv.weight, gain)

    def forward(self, x):
        return self.c(self.b(self.a(x)))


class Residual(Chain):
    """The sum of two moderate branches is large."""

    def forward(self, x):
        x = self.a(x)
        return self.c(F.relu(x + self.b(x)))


def fitted(net):
    picture = torch.ones(1, 3, 8, 8)
    half, beyond = in_half(net, [picture])
    with torch.no_grad():
        return list(beyond), float(net(picture).mean()), float(half(picture).mean())


def test_layers_between_large_values_stay_in_single():
    layers, expected, found = fitted(Chain(1e5, 1e-3, 2.0))
    assert layers == ["a", "b"]
    assert found == pytest.approx(expected, rel=2e-3)


def test_half_alone_would_have_overflowed():
    net = Chain(3e4, 10.0, 1e-4)
    convert_to_half(net)
    assert torch.isinf(net(torch.ones(1, 3, 8, 8))).all()
    layers, expected, found = fitted(Chain(3e4, 10.0, 1e-4))
    assert layers == ["a", "b", "c"]
    assert found == pytest.approx(expected, rel=2e-3)


def test_both_terms_of_a_large_sum_are_looked_after():
    layers, expected, found = fitted(Residual(0.9 * MAX_VALUE, 1.0, 1e-3))
    assert layers == ["b", "c"], "a is within half's range, its sum with b is not"
    assert found == pytest.approx(expected, rel=2e-3)


def test_values_too_small_for_half_stay_in_single():
    layers, expected, found = fitted(Chain(1e-6, 1.0, 1e6))
    assert layers[:2] == ["a", "b"]
    assert found == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("weight", [1e5, 1e-7])
def test_weights_that_half_cannot_hold_stay_in_single(weight):
    net = Chain(1.0, weight, 1.0)
    calls = [LayerCall(name, 1.0, 1.0) for name in "abc"]
    beyond = layers_beyond_half(net, calls)
    assert list(beyond) == ["b"]
    assert "weights" in beyond["b"]


def test_a_layer_that_puts_out_nan_stays_in_single():
    beyond = layers_beyond_half(Chain(), [LayerCall("a", 1.0, float("nan")), LayerCall("b", 1.0, 1.0)])
    assert list(beyond) == ["a"]


def test_ranges_are_the_largest_over_all_pictures():
    net = Chain(2.0, 3.0, 0.0)
    pictures = [torch.full((1, 3, 4, 4), value) for value in (1.0, -5.0, 2.0)]
    assert measure_ranges(net, pictures) == [
        LayerCall("a", 5.0, 10.0),
        LayerCall("b", 10.0, 30.0),
        LayerCall("c", 30.0, 0.0),
    ]
    assert not any(module._forward_hooks for module in net.modules())


def test_a_norm_without_a_convolution_computes_in_single():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.GroupNorm(2, 4), nn.AdaptiveAvgPool2d(1)).eval()
    image = torch.rand(1, 3, 64, 64) * 100
    half, _ = in_half(net, [image])
    with torch.no_grad():
        torch.testing.assert_close(half(image), net(image), atol=2e-3, rtol=0)
        assert half(image).dtype == torch.float32
