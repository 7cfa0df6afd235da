"""The merger alone: against whole planes in PyTorch, torchvision's paste, and Detectron2 where it is installed."""
