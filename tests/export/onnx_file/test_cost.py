"""What a graph costs is counted as by hand."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import tiny
from segopt_export.onnx_file.cost import DEVICES, Device, floor, layer_costs

HALF = np.float16


def model_of(*nodes, x=(1, 4, 8, 8), out=(1, 4, 8, 8), dtype=np.float32, constants=()):
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", elem, x)],
        [helper.make_tensor_value_info("y", elem, out)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def node(operator, inputs, output="y", **attributes):
    return helper.make_node(operator, inputs.split(), [output], name=output, **attributes)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 4), (HALF, 2)])
def test_a_convolution_with_what_follows_it_is_one_layer(dtype, size):
    kernel = np.ones((4, 4, 3, 3), dtype)
    nodes = [node("Conv", "x k", "c", pads=[1] * 4), node("Relu", "c", "r"), node("Add", "r x")]
    (layer,) = layer_costs(model_of(*nodes, dtype=dtype, constants=[("k", kernel)]))
    assert layer.operators == ("Conv", "Relu", "Add")
    assert layer.operations == 2 * 256 * 4 * 9 + 256 + 256
    # The input once, though two nodes read it; the weights; the output.
    assert layer.bytes_moved == size * (256 + 4 * 4 * 9 + 256)
    assert layer.half == (dtype == HALF)


def test_what_another_layer_reads_is_written():
    kernel = ("k", np.ones((4, 4, 1, 1), np.float32))
    nodes = [node("Conv", "x k", "a"), node("Conv", "a k", "b"), node("Add", "a b")]
    first, second = layer_costs(model_of(*nodes, constants=[kernel]))
    assert (first.operators, second.operators) == (("Conv",), ("Conv", "Add"))
    assert first.bytes_moved == 4 * (256 + 16 + 256)
    assert second.bytes_moved == 4 * (256 + 16 + 256)


def test_of_a_table_only_what_is_gathered_is_read():
    nodes = [node("Gather", "x i", axis=0)]
    (layer,) = layer_costs(model_of(*nodes, x=(1000, 8), out=(3, 8), constants=[("i", np.arange(3))]))
    assert layer.bytes_moved == 4 * 24 + 8 * 3 + 4 * 24
    assert layer.operations == 0


def test_views_and_constants_cost_nothing():
    shape = ("s", np.array([1, 256]))
    nodes = [node("Reshape", "x s", "flat"), node("Exp", "flat")]
    (layer,) = layer_costs(model_of(*nodes, out=(1, 256), constants=[shape]))
    assert (layer.operators, layer.bytes_moved) == (("Exp",), 2 * 4 * 256)
    assert layer_costs(model_of(node("Reshape", "x s"), out=(1, 256), constants=[shape])) == []


@pytest.mark.parametrize(
    ("operator", "inputs", "shapes", "operations"),
    [("MatMul", "x w", ((6, 5), (5, 7)), 2 * 6 * 5 * 7), ("Gemm", "x w", ((6, 5), (5, 7)), 2 * 6 * 5 * 7)],
)
def test_products_of_matrices(operator, inputs, shapes, operations):
    weights = [("w", np.ones(shapes[1], np.float32))]
    (layer,) = layer_costs(model_of(node(operator, inputs), x=shapes[0], out=(6, 7), constants=weights))
    assert layer.operations == operations


def test_a_layer_lasts_as_long_as_the_slower_of_its_operations_and_its_traffic():
    weights = [("w", np.ones((5, 7), np.float32))]
    layers = layer_costs(model_of(node("MatMul", "x w"), x=(6, 5), out=(6, 7), constants=weights))
    assert floor(layers, Device("", bandwidth=1e9, half=1, single=420)) == 1.0
    assert floor(layers, Device("", bandwidth=428, half=1, single=1e9)) == 1.0


def test_the_command_shows_the_costliest_layers_and_the_floors(tmp_path, segopt_cli):
    status, out, _ = segopt_cli("info", "--cost", tiny.semantic_engine(tmp_path / "a.onnx"))
    assert status == 0
    for words in ("ReduceMean", "GFLOP", "all", *(device.name for device in DEVICES)):
        assert words in out
    status, _, err = segopt_cli("info", "--cost", tmp_path / "a.plan")
    assert (status, err.count("\n")) == (2, 1)
    assert "give the ONNX file" in err


def test_types_of_tensors_are_known_to_the_byte():
    cast = node("Cast", "x", to=TensorProto.UINT8)
    model = model_of(cast)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    assert layer_costs(model)[0].bytes_moved == 4 * 256 + 256
