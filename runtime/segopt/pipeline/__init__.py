"""Frames through a segmenter into sinks, the stages in threads of their own."""
