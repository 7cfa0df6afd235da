"""What is put before and behind a network: frames of the contract to its pictures, its answer to a label map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from segopt_export.wrapping.foreign import ImageInput
from segopt_export.wrapping.request import Colors

Triple = tuple[float, float, float]


class Part:
    """A small graph that is written node by node.

    Args:
        name: stands before the names of all of its tensors but inputs and outputs.
        like: the model that it is put beside, whose versions it takes.
    """

    def __init__(self, name: str, like: ModelProto) -> None:
        self._name, self._like = name, like
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str | NDArray[Any], output: str = "", **attributes: Any) -> str:
        """Add a node; arrays among its inputs become constants. Returns the name of its output."""
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        output = output or f"{self._name}/{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, names, [output], name=f"{output}/node", **attributes))
        return output

    def cast(self, tensor: str, type_: int, output: str = "") -> str:
        """Add a cast."""
        return self.add("Cast", tensor, output=output, to=type_)

    def resize(self, tensor: str, shape: tuple[int, ...], **attributes: str) -> str:
        """Add a resizing to a shape; where no attributes say otherwise, linear between centers of pixels."""
        modes = attributes or {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.add("Resize", tensor, "", "", np.array(shape, np.int64), **modes)

    def model(
        self, inputs: Sequence[tuple[str, int, Sequence[int]]], outputs: Sequence[tuple[str, int, Sequence[int]]]
    ) -> ModelProto:
        """The part as a model; inputs and outputs with type and shape."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info(name, type_, shape) for name, type_, shape in inputs],
            [helper.make_tensor_value_info(name, type_, shape) for name, type_, shape in outputs],
            self._constants,
        )
        return helper.make_model(
            graph, opset_imports=list(self._like.opset_import), ir_version=self._like.ir_version
        )

    def _constant(self, array: NDArray[Any]) -> str:
        name = f"{self._name}/constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name


def input_part(
    like: ModelProto,
    image: ImageInput,
    output: str,
    *,
    canvas: tuple[int, int],
    colors: Colors,
    mean: Triple,
    std: Triple,
) -> ModelProto:
    """``image`` uint8 BGR [B, H, W, 3] to what the network takes.

    Pixels are scaled to 0..1 and normalized; a network that takes bytes gets them as they are. A canvas of another
    size is resized (linear, between centers of pixels).

    Args:
        like: the network.
        image: its input.
        output: the name that the part's output gets.
        canvas: height and width in pixels.
        colors: the order that the network takes.
        mean: RGB, 0 to 1.
        std: RGB, 0 to 1.
    """
    part = Part("frames", like)
    shape = (image.batch, *canvas, 3)
    pixels = part.cast("image", TensorProto.FLOAT)
    planes = part.add("Transpose", pixels, perm=[0, 3, 1, 2])
    if colors == "rgb":
        planes = part.add("Gather", planes, np.array([2, 1, 0], np.int64), axis=1)
    if image.size != canvas:
        planes = part.resize(planes, (image.batch, 3, *image.size))
    if image.type == TensorProto.UINT8:
        planes = part.add("Round", planes)
    else:
        ordered = slice(None) if colors == "rgb" else slice(None, None, -1)
        level, spread = (np.array(each, np.float32)[ordered].reshape(1, 3, 1, 1) * 255 for each in (mean, std))
        planes = part.add("Div", part.add("Sub", planes, level), spread)
    if image.channels_last:
        planes = part.add("Transpose", planes, perm=[0, 2, 3, 1])
    part.cast(planes, image.type, output)
    sides = (image.batch, *image.size, 3) if image.channels_last else (image.batch, 3, *image.size)
    return part.model([("image", TensorProto.UINT8, shape)], [(output, image.type, sides)])


def logits_part(like: ModelProto, logits: onnx.ValueInfoProto, canvas: tuple[int, int]) -> ModelProto:
    """Logits [B, C, h, w] to ``semantic`` uint8 [B, H, W]: resized to the canvas (linear), the largest class.

    One channel is the logit of a class 1 beside a class 0: 1 where it is above 0.
    """
    part = Part("classes", like)
    name, type_ = logits.name, logits.type.tensor_type.elem_type
    batch, channels, height, width = (side.dim_value for side in logits.type.tensor_type.shape.dim)
    found = name
    if (height, width) != canvas:
        found = part.resize(found, (batch, channels, *canvas))
    if channels == 1:
        above = part.add("Greater", found, np.array(0, helper.tensor_dtype_to_np_dtype(type_)))
        found = part.add("Squeeze", above, np.array([1], np.int64))
    else:
        found = part.add("ArgMax", found, axis=1, keepdims=0)
    # TensorRT 10.3 casts to bytes from floating point alone.
    part.cast(part.cast(found, TensorProto.FLOAT), TensorProto.UINT8, "semantic")
    return part.model(
        [(name, type_, (batch, channels, height, width))], [("semantic", TensorProto.UINT8, (batch, *canvas))]
    )


def map_part(like: ModelProto, classes: onnx.ValueInfoProto, canvas: tuple[int, int]) -> ModelProto:
    """Class indices [B, h, w] or [B, 1, h, w] to ``semantic`` uint8 [B, H, W]; resized to the nearest."""
    part = Part("classes", like)
    name, type_ = classes.name, classes.type.tensor_type.elem_type
    shape = [side.dim_value for side in classes.type.tensor_type.shape.dim]
    found = part.cast(name, TensorProto.FLOAT)
    if tuple(shape[-2:]) != canvas:
        if len(shape) == 3:
            found = part.add("Unsqueeze", found, np.array([1], np.int64))
        found = part.resize(
            found,
            (shape[0], 1, *canvas),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        found = part.add("Squeeze", found, np.array([1], np.int64))
    elif len(shape) == 4:
        found = part.add("Squeeze", found, np.array([1], np.int64))
    part.cast(found, TensorProto.UINT8, "semantic")
    return part.model([(name, type_, shape)], [("semantic", TensorProto.UINT8, (shape[0], *canvas))])
