"""What is put around a network, node by node; and the one that is put before: frames to its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from segopt_export.wrapping.foreign import ImageInput
from segopt_export.wrapping.request import Colors

Triple = tuple[float, float, float]
Named = tuple[str, int, Sequence[int]]
"""A tensor: its name, ONNX's number of its type, and its shape."""


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
        return self.add_of_many(operator, *inputs, outputs=[output], **attributes)[0]

    def add_of_many(
        self, operator: str, *inputs: str | NDArray[Any], outputs: Sequence[str], **attributes: Any
    ) -> list[str]:
        """As :meth:`add`, of as many outputs as ``outputs`` has; one that is empty gets a name."""
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        stem = f"{self._name}/{operator.lower()}_{len(self._nodes)}"
        made = [output or (stem if k == 0 else f"{stem}.{k}") for k, output in enumerate(outputs)]
        self._nodes.append(helper.make_node(operator, names, made, name=f"{made[0]}/node", **attributes))
        return made

    def cast(self, tensor: str, type_: int, output: str = "") -> str:
        """Add a cast."""
        return self.add("Cast", tensor, output=output, to=type_)

    def reshape(self, tensor: str, shape: Sequence[int], output: str = "") -> str:
        """Add a reshaping."""
        return self.add("Reshape", tensor, np.array(shape, np.int64), output=output)

    def columns(self, tensor: str, start: int, stop: int, axis: int = 2) -> str:
        """Add a slice along one axis."""
        return self.add("Slice", tensor, *(np.array([each], np.int64) for each in (start, stop, axis)))

    def top(self, values: str, count: int) -> tuple[str, str]:
        """Add the largest of each row of [B, N], descending: values and places, [B, count] each."""
        best, place = self.add_of_many("TopK", values, np.array([count], np.int64), outputs=["", ""], axis=1)
        return best, place

    def rows(self, table: str, shape: Sequence[int], places: str) -> str:
        """Add a look-up: rows of [B, N, ...] (``shape``) at places int64 [B, K] -> [B, K, ...]."""
        batch, count, *rest = shape
        if batch > 1:
            places = self.add("Add", places, (np.arange(batch, dtype=np.int64) * count)[:, None])
        return self.add("Gather", self.reshape(table, [batch * count, *rest]), places, axis=0)

    def ones(self, count: int, output: str) -> str:
        """Add int32 [count] that are all 1."""
        return self.add("Identity", np.ones(count, np.int32), output=output)

    def resize(self, tensor: str, shape: tuple[int, ...], **attributes: str) -> str:
        """Add a resizing to a shape; where no attributes say otherwise, linear between centers of pixels."""
        modes = attributes or {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.add("Resize", tensor, "", "", np.array(shape, np.int64), **modes)

    def model(self, inputs: Sequence[Named], outputs: Sequence[Named]) -> ModelProto:
        """The part as a model."""
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
        level, spread = (np.array(each, np.float32)[ordered].reshape(1, 3, 1, 1) for each in (mean, std))
        # Step by step as torchvision does it, to the last bit: a network that chooses among near ties (the queries
        # of a two-stage DETR) may choose others for less.
        scaled = part.add("Div", planes, np.array(255, np.float32))
        planes = part.add("Div", part.add("Sub", scaled, level), spread)
    if image.channels_last:
        planes = part.add("Transpose", planes, perm=[0, 2, 3, 1])
    part.cast(planes, image.type, output)
    sides = (image.batch, *image.size, 3) if image.channels_last else (image.batch, 3, *image.size)
    return part.model([("image", TensorProto.UINT8, shape)], [(output, image.type, sides)])
