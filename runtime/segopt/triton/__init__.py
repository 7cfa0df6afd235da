"""Models for NVIDIA's Triton inference server: the repository that it reads, and what runs in it."""
