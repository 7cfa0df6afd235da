"""What is rewritten for bf16 gives the answers that it gave, in any precision."""

import numpy as np
import pytest

from segopt.backends.openvino_rewrites import WIDE, rewrite_for_bf16

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install 'segopt[openvino]')")
ops = openvino.opset13

SINGLE = {"INFERENCE_PRECISION_HINT": "f32"}


def convolution(size, kernel, apart, before, after, *, stride=(1, 1), kind=np.float32):
    """A convolution with a bias between two other operations: [1, 3, *size] to [1, 5, ...]."""
    draw = np.random.default_rng(0)
    image = ops.parameter([1, 3, *size], np.float32, name="image")
    weights = ops.constant(draw.normal(size=(5, 3, *kernel)).astype(np.float32))
    data = [ops.convert_like(each, ops.constant(0, dtype=kind)) for each in (ops.relu(image), weights)]
    node = ops.convolution(*data, list(stride), list(before), list(after), list(apart))
    node.set_friendly_name("wide")
    answer = ops.add(ops.convert(node, "f32"), ops.constant(draw.normal(size=(1, 5, 1, 1)).astype(np.float32)))
    return openvino.Model([ops.result(answer)], [image])


def dilations(model):
    found = [node for node in model.get_ops() if node.get_type_name() == "Convolution"]
    return [tuple(node.get_attributes()["dilations"]) for node in found]


def answer(model, image, config):
    return openvino.Core().compile_model(model, "CPU", config)([image])[0]


@pytest.mark.parametrize(
    ("size", "kernel", "apart", "before", "after", "cells"),
    [
        ((20, 24), (3, 3), (6, 6), (6, 6), (6, 6), 9),
        ((20, 24), (3, 3), (12, 12), (12, 12), (12, 12), 9),
        # Rows further apart than the picture is high: those of the padding alone add nothing.
        ((20, 48), (3, 3), (24, 24), (24, 24), (24, 24), 3),
        ((20, 24), (3, 3), (36, 36), (36, 36), (36, 36), 1),
        ((21, 30), (3, 3), (7, 9), (0, 4), (3, 11), 9),
        ((21, 30), (2, 4), (8, 6), (5, 0), (1, 2), 8),
    ],
)
def test_a_convolution_with_wide_steps_is_a_sum_of_those_of_its_cells(size, kernel, apart, before, after, cells):
    image = np.random.default_rng(1).normal(size=(1, 3, *size)).astype(np.float32)
    model = convolution(size, kernel, apart, before, after)
    expected = answer(model, image, SINGLE)
    shape = model.output(0).shape
    rewrite_for_bf16(openvino, model)
    assert dilations(model) == [(1, 1)] * cells
    assert model.output(0).shape == shape
    np.testing.assert_allclose(answer(model, image, SINGLE), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "apart", "stride"),
    [((3, 3), (WIDE - 1, WIDE), (1, 1)), ((1, 3), (WIDE, WIDE), (1, 1)), ((3, 3), (WIDE, WIDE), (2, 1))],
)
def test_other_convolutions_stay(kernel, apart, stride):
    model = convolution((40, 40), kernel, apart, (3, 3), (3, 3), stride=stride)
    rewrite_for_bf16(openvino, model)
    assert dilations(model) == [apart]


def test_sums_of_bf16_are_rounded_once():
    size, apart = (32, 40), (8, 8)
    image = np.random.default_rng(1).normal(size=(1, 3, *size)).astype(np.float32)
    exact = answer(convolution(size, (3, 3), apart, apart, apart), image, SINGLE)
    model = convolution(size, (3, 3), apart, apart, apart, kind=openvino.Type.bf16.to_dtype())
    rewrite_for_bf16(openvino, model)
    sums = [node for node in model.get_ops() if node.get_type_name() == "Add"]
    assert {str(node.get_output_element_type(0)) for node in sums} == {"<Type: 'float32'>"}
    found = answer(model, image, {"EXECUTION_MODE_HINT": "ACCURACY"})
    assert np.abs(found - exact).max() < 2**-7 * np.abs(exact).max()
    assert not np.array_equal(found, exact)


def attention(shown):
    """Scores of 16 tokens by 16, their softmax in single precision, and the sums that it weighs."""
    tokens = [ops.parameter([1, 2, 16, 8], np.float32, name=name) for name in "qkv"]
    q, k, v = (ops.convert(each, "bf16") for each in tokens)
    weights = ops.softmax(ops.convert(ops.matmul(q, k, False, True), "f32"), -1)
    sums = ops.convert(ops.matmul(ops.convert(weights, "bf16"), v, False, False), "f32")
    return openvino.Model([ops.result(each) for each in ([sums, weights] if shown else [sums])], tokens)


def test_the_softmax_of_an_attention_is_joined_with_its_products_and_as_exact():
    tokens = list(np.random.default_rng(3).normal(size=(3, 1, 2, 16, 8)).astype(np.float32))
    q, k, v = tokens
    scores = np.exp(q @ k.swapaxes(-1, -2))
    expected = scores / scores.sum(axis=-1, keepdims=True) @ v
    model = attention(shown=False)
    rewrite_for_bf16(openvino, model)
    (node,) = (node for node in model.get_ops() if node.get_type_name() == "Softmax")
    assert node.get_output_element_type(0) == openvino.Type.bf16
    assert node.input_value(0).get_node().get_type_name() == "MatMul"
    compiled = openvino.Core().compile_model(model, "CPU", {"EXECUTION_MODE_HINT": "ACCURACY"})
    np.testing.assert_allclose(compiled(tokens)[0], expected, atol=0.03)


def test_a_softmax_that_somebody_reads_in_single_precision_stays():
    model = attention(shown=True)
    rewrite_for_bf16(openvino, model)
    (node,) = (node for node in model.get_ops() if node.get_type_name() == "Softmax")
    assert node.get_output_element_type(0) == openvino.Type.f32


def test_a_label_map_is_the_same_by_logits_in_single_precision():
    image = ops.parameter([1, 7, 9, 11], np.float32, name="image")
    logits = ops.convert(image, "bf16")
    best = ops.topk(logits, ops.constant(1), 1, "max", "none", "i32")
    model = openvino.Model([ops.result(best.output(1))], [image])
    # In bf16 many are equal.
    data = np.random.default_rng(2).integers(0, 3, (1, 7, 9, 11)).astype(np.float32) / 256 + 1
    before = answer(model, data, {"EXECUTION_MODE_HINT": "ACCURACY"})
    rewrite_for_bf16(openvino, model)
    (node,) = (node for node in model.get_ops() if node.get_type_name() == "TopK")
    assert node.get_input_element_type(0) == openvino.Type.f32
    np.testing.assert_array_equal(answer(model, data, {"EXECUTION_MODE_HINT": "ACCURACY"}), before)
