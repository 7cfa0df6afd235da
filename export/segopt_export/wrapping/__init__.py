"""ONNX files of other makers as models of segopt. Needs onnx and ONNX Runtime, and no PyTorch."""
