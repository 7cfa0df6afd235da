import numpy as np
import pytest

from segopt.errors import EngineError
from segopt.model.tensors import TensorSpec
from segopt.tensorrt.flavor import Flavor
from segopt.tensorrt.tensors import tensor_spec

trt = pytest.importorskip("tensorrt_rtx")

FLAVOR = Flavor("tensorrt-rtx", trt, trt.__version__)
PLAIN = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


def spec(dtype, shape=(1, 3)):
    dtype = trt.DataType.__members__[dtype]
    return tensor_spec(FLAVOR, "boxes", dtype, trt.Dims(shape), model="m.plan", fix="build it again")


@pytest.mark.parametrize("dtype", PLAIN)
def test_a_type_that_numpy_has(dtype):
    assert spec(dtype) == TensorSpec(np.dtype(PLAIN[dtype]), (1, 3))


@pytest.mark.parametrize("dtype", sorted(trt.DataType.__members__.keys() - PLAIN))
def test_a_type_that_numpy_lacks_is_named(dtype):
    with pytest.raises(
        EngineError, match=rf"^m\.plan: boxes is {dtype} \[1, 3\], and segopt needs .*; build it again$"
    ):
        spec(dtype)


def test_a_shape_that_is_not_fixed_is_named():
    with pytest.raises(EngineError, match=r"boxes is FLOAT \[-1, 3\], and segopt needs fixed shapes"):
        spec("FLOAT", (-1, 3))
