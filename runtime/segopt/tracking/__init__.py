"""Objects that stay the same over the frames of a video."""
