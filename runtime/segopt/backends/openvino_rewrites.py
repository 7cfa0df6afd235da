"""Rewrites of a model for OpenVINO's CPU in bf16: the same sums, by operations whose kernels are fast.

A 3x3 convolution with wide steps reads nine places that have nothing to do with each other: nine 1x1 convolutions
of parts of its input, each added where it belongs. OpenVINO's kernels for bf16 take neighboring rows instead, and
again for each output: the three of DeepLabV3-R50's head, with steps of 12, 24 and 36, took four fifths of its time
on a CPU with AMX. The 1x1 kernels have no such trouble, and what lies in the padding is not computed at all.

The softmax between the two products of an attention is in single precision in an FP16 file, with a conversion on
each side. Without these OpenVINO joins all three in one kernel, in which scores stay in single precision: EoMT-S
was 1.75 times as fast, and nearer to single precision. Where it does not join them, numbers are rounded as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import product
from typing import Any

WIDE = 6
"""Steps in both directions from which on a convolution is taken apart: below, its own kernel is as fast."""


def rewrite_for_bf16(ov: Any, model: Any) -> None:
    """Rewrite a model in place.

    Args:
        ov: the module ``openvino``.
        model: an ``openvino.Model`` with fixed shapes, with bf16 in it.
    """
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "Convolution" and _is_wide(node):
            _take_apart(ov, node)
        elif kind == "TopK" and node.get_input_element_type(0) == ov.Type.bf16:
            # The same numbers, and a kernel that is twice as fast.
            node.input(0).replace_source_output(ov.opset13.convert(node.input_value(0), "f32").output(0))
        elif kind == "Softmax":
            _take_conversions_away(ov, node)
    model.validate_nodes_and_infer_types()


def _take_conversions_away(ov: Any, node: Any) -> None:
    """Where conversions from bf16 and back are all that is around a node, have it read and give bf16."""
    before = node.input_value(0).get_node()
    after = [reader.get_node() for reader in node.output(0).get_target_inputs()]
    if any(each.get_type_name() != "Convert" for each in (before, *after)):
        return
    outer = [before.get_input_element_type(0), *(each.get_output_element_type(0) for each in after)]
    if any(kind != ov.Type.bf16 for kind in outer):
        return
    node.input(0).replace_source_output(before.input_value(0))
    node.validate_and_infer_types()
    for each in after:
        each.output(0).replace(node.output(0))


def _is_wide(node: Any) -> bool:
    given = node.get_attributes()
    return (
        len(given["dilations"]) == 2
        and min(given["dilations"]) >= WIDE
        and given["strides"] == [1, 1]
        and given["auto_pad"] == "explicit"
        and min(node.get_input_shape(1)[2:]) > 1
    )


def _take_apart(ov: Any, node: Any) -> None:
    # Sums are in single precision, as those of one convolution are.
    total = reduce(ov.opset13.add, _parts(ov.opset13, node))
    rounded = ov.opset13.convert(total, node.get_output_element_type(0))
    rounded.set_friendly_name(node.get_friendly_name())
    node.output(0).replace(rounded.output(0))


def _parts(opset: Any, node: Any) -> Iterator[Any]:
    """What each cell of the kernel adds to the output, at the output's size."""
    given = node.get_attributes()
    image, weights = node.input_value(0), node.input_value(1)
    cells, read, written = (tuple(shape)[2:] for shape in (weights.shape, image.shape, node.output(0).shape))
    for cell in product(*map(range, cells)):
        steps = [
            place * apart - pad
            for place, apart, pad in zip(cell, given["dilations"], given["pads_begin"], strict=True)
        ]
        # Places of the output that this cell reaches from within the input, first to last, axis by axis.
        first = [max(0, -step) for step in steps]
        last = [min(there, here - step) for there, here, step in zip(written, read, steps, strict=True)]
        if any(a >= b for a, b in zip(first, last, strict=True)):
            continue
        begin, end = ([a + step for a, step in zip(places, steps, strict=True)] for places in (first, last))
        part = opset.slice(image, begin, end, [1, 1], [2, 3])
        weight = opset.slice(weights, list(cell), [place + 1 for place in cell], [1, 1], [2, 3])
        tap = opset.convolution(part, weight, [1, 1], [0, 0], [0, 0], [1, 1])
        behind = [there - b for there, b in zip(written, last, strict=True)]
        yield opset.pad(opset.convert(tap, "f32"), [0, 0, *first], [0, 0, *behind], "constant", 0.0)
