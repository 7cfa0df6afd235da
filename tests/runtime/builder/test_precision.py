"""The share of half-precision layers: counted in real networks, and in what the engine inspector says."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import segopt
import tiny
from segopt.builder import precision
from segopt.builder.network import parse
from segopt.errors import EngineError
from segopt.tensorrt.flavor import find_flavor

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def constant(name, shape, dtype):
    values = np.full(shape, 0.5, np.float16 if dtype == HALF else np.float32)
    return numpy_helper.from_array(values, name)


@pytest.fixture
def layers(tmp_path):
    """Compute layers of a network of such nodes, constants and inputs."""
    pytest.importorskip("tensorrt_rtx")

    def call(nodes, constants, inputs):
        last = nodes[-1].output[0]
        infos = [helper.make_tensor_value_info(name, dtype, shape) for name, dtype, shape in inputs]
        output = helper.make_tensor_value_info(last, inputs[0][1], None)
        graph = helper.make_graph(nodes, "layers", infos, [output], initializer=constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        path = tmp_path / "layers.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        flavor = find_flavor("tensorrt-rtx")
        parsed = parse(flavor, path)
        return precision.compute_layers(flavor.module, parsed.network)

    return call


def convolution(dtype):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["y", "v"], ["z"], name="deconv", strides=[2, 2]),
    ]
    return (
        nodes,
        [constant("w", (4, 3, 3, 3), dtype), constant("v", (4, 5, 2, 2), dtype)],
        [("x", dtype, [1, 3, 8, 8])],
    )


@pytest.mark.parametrize("dtype", [FLOAT, HALF])
def test_convolutions_and_deconvolutions_count(layers, dtype):
    assert list(layers(*convolution(dtype)).values()) == [dtype == HALF] * 2


@pytest.mark.parametrize("dtype", [FLOAT, HALF])
def test_products_with_a_constant_are_fully_connected_layers(layers, dtype):
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="gemm", transB=1),
        helper.make_node("MatMul", ["y", "v"], ["z"], name="matmul"),
    ]
    constants = [constant("w", (6, 4), dtype), constant("b", (6,), dtype), constant("v", (6, 2), dtype)]
    assert list(layers(nodes, constants, [("x", dtype, [5, 4])]).values()) == [dtype == HALF] * 2


def test_a_weight_that_is_cast_on_the_way_is_still_a_weight(layers):
    nodes = [
        helper.make_node("Cast", ["w"], ["half"], name="cast", to=HALF),
        helper.make_node("Transpose", ["half"], ["turned"], name="turn", perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["y"], name="matmul"),
    ]
    assert list(layers(nodes, [constant("w", (3, 4), FLOAT)], [("x", HALF, [5, 4])]).values()) == [True]


def test_products_of_two_computed_tensors_are_none(layers):
    nodes = [helper.make_node("MatMul", ["x", "k"], ["y"], name="suppress")]
    assert layers(nodes, [], [("x", FLOAT, [1, 4]), ("k", FLOAT, [4, 4])]) == {}


def test_a_share_is_of_the_layers():
    assert precision.share({"a": True, "b": True, "c": False, "d": True}) == 0.75
    assert precision.share({}) == 0


@pytest.fixture
def card(panoptic_engine):
    return segopt.read_card(panoptic_engine)


MODEL = Path("street.onnx")


@pytest.mark.parametrize(
    ("name", "promised", "halves", "fits"),
    [
        ("fp32", 0.0, 0, True),
        ("fp32", 0.0, 1, False),
        ("fp16", 0.98, 98, True),
        ("fp16", 0.98, 97, True),
        ("fp16", 0.98, 96, False),
        ("fp16", 0.98, 0, False),
        ("fp16", 0.98, 100, True),
    ],
)
def test_a_network_is_held_to_its_card(card, name, promised, halves, fits):
    card = dataclasses.replace(card, precision=name, half_share=promised)
    layers = {f"layer{i}": i < halves for i in range(100)}
    if fits:
        precision.check_network(card, layers, MODEL)
        return
    with pytest.raises(EngineError, match=rf"street\.onnx: .*{name} with {promised:.1%} .* reads {halves:.1f}%"):
        precision.check_network(card, layers, MODEL)


# What the inspector prints. TensorRT 10: type and layout in one member, worded in one of two ways; TensorRT 11:
# members of their own (docs.nvidia.com, migration page of IEngineInspector); names of fused layers joined by plus
# signs, or in the metadata.

LAYERS = {"conv1": True, "conv2": True, "fc.weight": True, "stem": False}


def tensor(**members):
    return {"Name": "t", "Dimensions": [1, 8, 4, 4], **members}


TEN = {
    "Layers": [
        {
            "Name": "conv1 + relu1",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor(**{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"})],
            "Outputs": [tensor(**{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"})],
        },
        {
            "Name": "__myl_Conv_0_myl0_7",
            "LayerType": "conv",
            "Inputs": [tensor(**{"Format/Datatype": "Half"})],
            "Outputs": [tensor(**{"Format/Datatype": "Half"})],
            "Metadata": "[ONNX Layer: conv2][ONNX Layer: fc.weight]",
        },
        {
            "Name": "stem",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor(**{"Format/Datatype": "Row major linear FP32"})],
            "Outputs": [tensor(**{"Format/Datatype": "Row major linear FP32"})],
        },
        {"Name": "Reformatting CopyNode", "LayerType": "Reformat", "Inputs": [], "Outputs": []},
    ],
    "Bindings": ["image", "semantic"],
}
ELEVEN = {
    "Layers": [
        {
            "Name": "conv1 + relu1",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor(DataType="Half", Format="Channel major format where channel % 8 == 0")],
            "Outputs": [tensor(DataType="Half", Format="Channel major format where channel % 8 == 0")],
        },
        {
            "Name": "__myl_Conv_0_myl0_7",
            "LayerType": "conv",
            "Inputs": [tensor(DataType="Half")],
            "Outputs": [tensor(DataType="Half")],
            "Metadata": "[ONNX Layer: conv2]\x1e[ONNX Layer: fc.weight]",
        },
        {"Name": "stem", "LayerType": "conv", "Inputs": [tensor(DataType="Float")], "Outputs": []},
    ],
    "I/O Tensors": [{"Name": "image", "IOMode": "Input", "DataType": "UInt8"}],
}


@pytest.mark.parametrize("inspection", [TEN, ELEVEN], ids=["tensorrt10", "tensorrt11"])
def test_the_inspectors_words_are_understood(inspection):
    assert precision.compute_layers_in_engine(json.dumps(inspection), LAYERS) == LAYERS


@pytest.mark.parametrize("inspection", ["", "no json", "[]", '{"Layers": ["conv1", "conv2"]}', '{"Bindings": []}'])
def test_an_inspector_that_tells_nothing_is_no_proof(inspection):
    assert precision.compute_layers_in_engine(inspection, LAYERS) == {}
    assert precision.slower_than_promised({}, LAYERS) is None


def test_half_layers_that_the_inspector_shows_in_float_are_a_note():
    """Fused layers are FP32 at their ends, so that no plan is refused for it."""
    inspection = json.loads(json.dumps(TEN).replace("FP16", "FP32").replace("Half", "Float"))
    built = precision.compute_layers_in_engine(json.dumps(inspection), LAYERS)
    note = precision.slower_than_promised(built, LAYERS)
    assert "3 of 3 half-precision layers with FP32 at their ends (conv1, " in note


def test_an_engine_as_its_network_is_fine():
    assert precision.slower_than_promised(LAYERS, LAYERS) is None


def test_tiny_engines_have_no_layers_to_count(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    flavor = find_flavor("tensorrt-rtx")
    parsed = parse(flavor, tiny.semantic_engine(tmp_path / "a.onnx"))
    assert precision.compute_layers(flavor.module, parsed.network) == {}
