"""From torchvision's segmentation networks to one static ONNX file. Needs PyTorch; the runtime does not."""
