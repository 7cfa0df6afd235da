"""What bf16 in the place of half would cost in accuracy, reckoned in PyTorch on any CPU."""
