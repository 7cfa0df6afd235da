"""From a static module to a checked ONNX file."""
