"""What a model file says of itself: its card, its tensors, and the sidecar of a plan."""
