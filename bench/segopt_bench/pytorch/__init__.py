"""The PyTorch networks that engines are measured against."""
