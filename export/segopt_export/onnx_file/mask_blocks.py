"""Masks of those detections alone that are there: a finished graph's mask head in a loop over blocks of slots.

A static graph has a slot for each of 100 detections, and the mask head is a third of Mask R-CNN's work. Detections
stand in the order of their scores, so that those above any score fill the first slots, and the head need only run
until they are done. Every tensor keeps its fixed shape; how often the loop runs depends on the picture.

The loop's body is the head as it was traced, for :data:`BLOCK` slots in place of all. Weights stand inside it,
where ONNX Runtime lays them out for its fast convolutions, once for all turns. This is done to a finished graph,
since a quantizer cannot look into a loop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from segopt.model.tensors import MASK_BLOCK, MASK_LOOP, MASK_SCORE
from segopt_export.onnx_file.row_block import Body, Graph, MixesRowsError, copy_of, keep_needed, take
from segopt_export.static.limits import DetectionLimits

BLOCK = 8
"""Slots that a turn of the loop computes. In ONNX Runtime on two threads, blocks of 8 took 0.96 of the time of all
100 slots at once; blocks of 20 took 1.02."""


def in_blocks(model: ModelProto) -> ModelProto | None:
    """A graph whose masks are computed for blocks of slots, as many as hold a detection.

    The graph gets one more input, :data:`segopt.model.tensors.MASK_SCORE`, that may be left out: the lowest score
    of a detection whose mask is wanted. The masks of others say nothing.

    Args:
        model: of one picture, with outputs ``scores`` [1, D], in falling order, and ``masks`` [1, D, h, w].

    Returns:
        A new graph, in single precision of the same answer bit by bit; None where the masks are not made slot by
        slot, by operators that are known to do so.
    """
    copy = copy_of(model)
    try:
        _rewrite(copy)
    except MixesRowsError:
        return None
    onnx.checker.check_model(copy, full_check=True)
    return copy


def with_masks_in_blocks(model: ModelProto, limits: DetectionLimits) -> tuple[ModelProto, list[str]]:
    """A detector's finished graph for a CPU, with masks in blocks where that is wanted, and what to say of it.

    Args:
        model: the graph.
        limits: of it.
    """
    if limits.all_masks or model.graph.input[0].type.tensor_type.shape.dim[0].dim_value > 1:
        return model, []
    blocks = in_blocks(model)
    if blocks is None:
        return model, ["this mask head computes a mask for every slot, whether or not it holds a detection"]
    return blocks, [
        f"masks are computed for the detections that are there, {BLOCK} at a time (--all-masks: for all)"
    ]


def _rewrite(model: ModelProto) -> None:
    graph = Graph.of(model)
    last = graph.makers["masks"]
    batch, slots = graph.shapes["scores"]
    if batch != 1 or last.op_type != "Reshape" or graph.shapes.get(last.input[0], ())[:1] != (slots,):
        raise MixesRowsError("no row of the masks belongs to one slot")
    others = graph.needed_for(value.name for value in graph.proto.output if value.name != "masks")
    names = graph.needed_for(["masks"]) - others
    body = Body(graph, slots, min(BLOCK, slots))
    for node in graph.proto.node:
        if node.output[0] in names and node is not last:
            take(body, node)
    masks = last.input[0]
    if masks not in body.rows or masks in body.entries:
        raise MixesRowsError("the masks are no rows of what the head computes")
    keep_needed(body, body.rows[masks])
    inside = {name for node in body.nodes for name in node.output}
    read = {name for node in body.nodes for name in node.input} - inside
    needed = others | graph.needed_for([*body.entries, *read])
    kept = [copy_of(node) for node in graph.proto.node if node.output[0] in needed]
    outside = {name for node in kept for name in node.input}
    _replace(model, kept, [*_loop(body, masks, outside), copy_of(last)])
    # What a loop carries might change its shape; this does not.
    shape = graph.shapes[masks]
    model.graph.value_info.append(helper.make_tensor_value_info(masks, graph.types[masks], shape))


def _loop(body: Body, masks: str, outside: Collection[str]) -> list[NodeProto]:
    """Nodes that make a tensor with a row for each slot; what they need is put into the graph.

    Args:
        body: of the loop.
        masks: name of the tensor.
        outside: names of what the rest of the graph reads.
    """
    graph, block = body.graph, body.block
    made = body.rows[masks]
    kind, shape = graph.types[masks], graph.shapes[masks]
    size = body.constant("masks/size", np.array(block, np.int64))
    most = body.constant("masks/most", np.array(body.slots - block, np.int64))
    steps = body.constant("masks/steps", np.arange(block, dtype=np.int64))
    axis = body.constant("masks/axis", np.array([1], np.int64))
    before = [
        # The last block ends with the last slot, and may compute some that another one did.
        helper.make_node("Mul", ["masks/turn", size], ["masks/begin"]),
        helper.make_node("Min", ["masks/begin", most], ["masks/first"]),
        helper.make_node("Add", ["masks/first", steps], ["masks/slots"]),
        *(helper.make_node("Gather", [name, "masks/slots"], [body.rows[name]], axis=0) for name in body.entries),
    ]
    after = [
        helper.make_node("Unsqueeze", ["masks/slots", axis], ["masks/index"]),
        helper.make_node("ScatterND", ["masks/so_far", "masks/index", made], ["masks/more"]),
        helper.make_node("Identity", ["masks/go"], ["masks/go_on"]),
    ]
    used = {name for node in body.nodes for name in node.input} & graph.constants.keys()
    weights = [copy_of(graph.constants[name]) for name in sorted(used)]
    # A name stands for one tensor, inside and outside.
    names = {name: f"{name}/in_loop" for name in used & set(outside)}
    for tensor in weights:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in body.nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
    value = helper.make_tensor_value_info
    turn = helper.make_graph(
        [*before, *body.nodes, *after],
        "masks of a block of slots",
        [
            value("masks/turn", TensorProto.INT64, []),
            value("masks/go", TensorProto.BOOL, []),
            value("masks/so_far", kind, shape),
        ],
        [value("masks/go_on", TensorProto.BOOL, []), value("masks/more", kind, shape)],
        initializer=[*weights, *body.weights.values()],
    )
    constants: Mapping[str, NDArray[np.generic]] = {
        MASK_SCORE: np.array(0, np.float32),
        "masks/blocks_up": np.array(block - 1, np.int64),
        MASK_BLOCK: np.array(block, np.int64),
        "masks/always": np.array(True),
        "masks/shape": np.array(shape, np.int64),
    }
    graph.proto.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    # An input that has a value of its own may be left out.
    graph.proto.input.append(value(MASK_SCORE, TensorProto.FLOAT, []))
    return [
        helper.make_node("GreaterOrEqual", ["scores", MASK_SCORE], ["masks/wanted"]),
        helper.make_node("Cast", ["masks/wanted"], ["masks/ones"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["masks/ones"], ["masks/count"], keepdims=0),
        helper.make_node("Add", ["masks/count", "masks/blocks_up"], ["masks/rounded"]),
        helper.make_node("Div", ["masks/rounded", MASK_BLOCK], ["masks/turns"]),
        helper.make_node(
            "ConstantOfShape", ["masks/shape"], ["masks/none"], value=helper.make_tensor("zero", kind, [1], [0])
        ),
        helper.make_node(
            "Loop", ["masks/turns", "masks/always", "masks/none"], [masks], name=MASK_LOOP, body=turn
        ),
    ]


def _replace(model: ModelProto, kept: list[NodeProto], added: list[NodeProto]) -> None:
    """New nodes in the place of the old; what nothing uses any more goes."""
    graph = model.graph
    del graph.node[:]
    graph.node.extend([*kept, *added])
    used = {name for node in graph.node for name in node.input}
    for node in added:
        for each in node.attribute:
            inside = {tensor.name for tensor in each.g.initializer}
            used |= {name for part in each.g.node for name in part.input if name not in inside}
    # A list of copies: what is taken out of a message is gone.
    constants = [copy_of(tensor) for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.value_info[:]
