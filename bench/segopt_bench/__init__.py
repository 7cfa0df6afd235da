"""Benchmarks of latency and accuracy."""
