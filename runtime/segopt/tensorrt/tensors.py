"""Tensors of TensorRT as numpy knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segopt.errors import EngineError
from segopt.model.tensors import TensorSpec

if TYPE_CHECKING:
    import tensorrt as trt

    from segopt.tensorrt.flavor import Flavor


def tensor_spec(
    flavor: Flavor, name: str, dtype: trt.DataType, shape: trt.Dims, *, model: object, fix: str
) -> TensorSpec:
    """Type and shape of a network's or an engine's input or output.

    Args:
        flavor: the TensorRT that it is of.
        name: of the tensor.
        dtype: its type; bfloat16 and what is smaller than a byte are none that numpy has.
        shape: its sides; -1 where it is not fixed.
        model: the file, and
        fix: what to do about it, for the message.

    Raises:
        EngineError: numpy has no such type, or the shape is not fixed.
    """
    sides = tuple(shape)
    try:
        found = np.dtype(flavor.module.nptype(dtype))
    except TypeError:
        found = None
    if found is None or any(side < 0 for side in sides):
        raise EngineError(
            f"{model}: {name} is {dtype.name} {list(sides)}, and segopt needs fixed shapes of plain types; {fix}"
        )
    return TensorSpec(found, sides)
