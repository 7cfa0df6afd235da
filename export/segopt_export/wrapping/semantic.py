"""Semantic answers to a label map: what is put behind such networks."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from segopt_export.wrapping.parts import Part


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
