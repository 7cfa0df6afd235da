"""ONNX files into TensorRT plans."""
