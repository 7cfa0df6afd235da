"""TensorRT and TensorRT-RTX: plans that ``segopt build`` made, on an NVIDIA GPU."""

from segopt.backends.tensorrt.backend import TensorRtBackend

__all__ = ["TensorRtBackend"]
