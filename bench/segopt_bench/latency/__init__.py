"""Latency of engines against the PyTorch networks that they came from, stage by stage."""
