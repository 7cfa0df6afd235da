"""What TensorRT 10.3 refuses of a graph is named here, where no such TensorRT is at hand."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from segopt_export.onnx_file.tensorrt_rules import refusals
from segopt_export.onnx_file.tracing import trace
from segopt_export.static.graph import LabelMap
from segopt_export.static.suppression import suppress

X = ("x", TensorProto.FLOAT, (2, 4))


def refused(*nodes, inputs=(X,), constants=(), opset=18):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants],
    )
    return refusals(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10))


def node(operator, *inputs, **attributes):
    return helper.make_node(operator, list(inputs), ["y"], name="n", **attributes)


def of_type(elem, *, name="x"):
    return (name, elem, (2, 4))


def test_a_graph_of_what_it_takes_is_not_refused():
    assert (
        refused(helper.make_node("Relu", ["x"], ["a"]), node("ReduceMax", "a", "k"), constants=[("k", [1])]) == []
    )


@pytest.mark.parametrize(
    ("operator", "elem", "words"),
    [
        ("Trilu", TensorProto.BOOL, "Trilu of BOOL (n)"),
        ("Sqrt", TensorProto.DOUBLE, "Sqrt of DOUBLE (n)"),
        ("Abs", TensorProto.INT8, "Abs of INT8 (n)"),
        ("Transpose", TensorProto.UINT8, "Transpose of UINT8 (n)"),
        ("NonZero", TensorProto.FLOAT, "NonZero (n)"),
    ],
)
def test_an_operator_or_a_type_that_it_lacks_is_named(operator, elem, words):
    assert refused(node(operator, "x"), inputs=[of_type(elem)]) == [words]


def test_one_kind_is_named_once():
    nodes = [helper.make_node("Trilu", ["x"], [name], name=name) for name in ("a", "b", "y")]
    assert refused(*nodes, inputs=[of_type(TensorProto.BOOL)]) == ["Trilu of BOOL (a)"]


@pytest.mark.parametrize("elem", [TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL])
def test_uint8_comes_of_floating_point_alone_and_becomes_nothing_else(elem):
    name = TensorProto.DataType.Name(elem)
    cast = node("Cast", "x", to=TensorProto.UINT8)
    assert refused(cast, inputs=[of_type(elem)]) == [f"Cast from {name} to UINT8 (n)"]
    back = node("Cast", "x", to=elem)
    assert refused(back, inputs=[of_type(TensorProto.UINT8)]) == [f"Cast from UINT8 to {name} (n)"]
    for floating in (TensorProto.FLOAT, TensorProto.FLOAT16):
        assert refused(cast, inputs=[of_type(floating)]) == []


def test_what_selects_is_of_another_type_than_what_is_selected():
    condition = of_type(TensorProto.BOOL, name="c")
    assert refused(node("Where", "c", "x", "x"), inputs=[condition, X]) == []
    rows = ("i", TensorProto.INT64, (2,))
    assert refused(node("Gather", "x", "i"), inputs=[of_type(TensorProto.BOOL), rows]) == []
    assert refused(node("Gather", "x", "i"), inputs=[of_type(TensorProto.INT8), rows]) == ["Gather of INT8 (n)"]


def test_axes_must_be_constant():
    axes = ("axes", TensorProto.INT64, (1,))
    assert refused(node("ReduceSum", "x", "axes"), inputs=[X, axes]) == [
        "ReduceSum whose axes are not constant (n)"
    ]
    assert refused(node("ReduceSum", "x", "axes"), constants=[("axes", [1])]) == []
    assert refused(node("ReduceSum", "x")) == []


def test_a_grid_must_be_of_its_inputs_type():
    inputs = [("x", TensorProto.FLOAT16, (1, 1, 4, 4)), ("grid", TensorProto.FLOAT, (1, 2, 2, 2))]
    assert refused(node("GridSample", "x", "grid"), inputs=inputs) == [
        "GridSample whose grid is of another type than its input (n)"
    ]


def test_an_opset_that_its_parser_does_not_know_is_named():
    assert refused(node("Relu", "x"), opset=21) == ["opset 21 (the graph)"]


class LabelMapAndSuppression(torch.nn.Module):
    """The two places where graphs of segopt had what 10.3 refuses: argmax to bytes, and the order of boxes."""

    def forward(self, image):
        values = image.to(torch.float32)
        boxes = values[..., :2].flatten(2)[..., :4]
        keep, converged = suppress(boxes, boxes[..., 0] > 0, iou_threshold=0.5, steps=3, block=5)
        return LabelMap()(values.permute(0, 3, 1, 2)), keep.to(torch.int32), converged.to(torch.int32)


@pytest.mark.slow
def test_label_maps_and_suppression_are_taken():
    model = trace(LabelMapAndSuppression(), torch.zeros(1, 12, 8, 3, dtype=torch.uint8), ["s", "k", "c"])
    assert "Trilu" not in {each.op_type for each in model.graph.node}
    assert refusals(model) == []


@pytest.mark.slow
def test_the_opset_is_below_20():
    # From opset 20 on, GridSample's "linear" is read as nearest by TensorRT 10.13 to 11.1 (NVIDIA/TensorRT #4646).
    model = trace(LabelMapAndSuppression(), torch.zeros(1, 12, 8, 3, dtype=torch.uint8), ["s", "k", "c"])
    assert [(each.domain, each.version) for each in model.opset_import if each.domain == ""] == [("", 18)]
