"""Where results go: a sink gets each frame with its result, in order, and is a context manager."""
