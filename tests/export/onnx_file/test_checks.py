"""Exported graphs are static and of standard operators; the share of half-precision layers is counted right."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from segopt.errors import ExportError
from segopt_export.onnx_file.checks import check_static, half_share


def model_of(nodes, *, shape=(1, 4, 8, 8), elem=TensorProto.FLOAT, constants=(), out_shape=None, domains=("",)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", elem, shape)],
        [helper.make_tensor_value_info("y", elem, out_shape or shape)],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    imports = [helper.make_opsetid(domain, 18 if not domain else 1) for domain in domains]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def test_a_static_graph_passes():
    check_static(model_of([helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Exp", ["a"], ["y"])]))


def test_a_data_dependent_operator_is_refused():
    nodes = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Relu", ["x"], ["y"])]
    with pytest.raises(ExportError, match=r"not static .*NonZero"):
        check_static(model_of(nodes))


def test_an_operator_of_a_custom_domain_is_refused():
    nodes = [helper.make_node("EfficientNMS", ["x"], ["y"], domain="plugins")]
    with pytest.raises(ExportError, match="EfficientNMS is of the custom domain plugins"):
        check_static(model_of(nodes, domains=("", "plugins")))


@pytest.mark.parametrize("side", ["height", None])
def test_an_open_dimension_is_refused(side):
    with pytest.raises(ExportError, match="has no fixed shape"):
        check_static(model_of([helper.make_node("Relu", ["x"], ["y"])], shape=(1, 4, side, 8)))


def test_a_shape_that_nobody_can_infer_is_refused():
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["length"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["length", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["filled"]),
        helper.make_node("ReduceSum", ["filled"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    with pytest.raises(ExportError, match="filled of ConstantOfShape has no fixed shape"):
        check_static(model_of(nodes, constants=[("one", np.array([1], dtype=np.int64))]))


def weighted(dtype):
    """A convolution and a matrix product with weights, and one of data by data."""
    kernel = np.ones((4, 4, 1, 1), dtype=dtype)
    matrix = np.ones((8, 8), dtype=dtype)
    elem = TensorProto.FLOAT16 if dtype == np.float16 else TensorProto.FLOAT
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["a"]),
        helper.make_node("MatMul", ["a", "matrix"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    return model_of(nodes, elem=elem, constants=[("kernel", kernel), ("matrix", matrix)])


def test_the_share_counts_layers_with_weights():
    assert half_share(weighted(np.float16)) == 1.0
    assert half_share(weighted(np.float32)) == 0.0


def test_a_cast_before_a_layer_counts_the_layer_as_it_computes():
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["a"]),
        helper.make_node("Cast", ["a"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Gemm", ["flat", "matrix"], ["c"]),
        helper.make_node("Reshape", ["h", "rows"], ["flat"]),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    nodes[2], nodes[3] = nodes[3], nodes[2]
    constants = [
        ("kernel", np.ones((4, 4, 1, 1), dtype=np.float32)),
        ("rows", np.array([4, 64], dtype=np.int64)),
        ("matrix", np.ones((64, 2), dtype=np.float16)),
    ]
    model = model_of(nodes, constants=constants, out_shape=(4, 2))
    onnx.checker.check_model(model, full_check=True)
    assert half_share(model) == 0.5


def test_a_graph_without_layers_has_no_share():
    assert half_share(model_of([helper.make_node("Relu", ["x"], ["y"])])) == 0.0
