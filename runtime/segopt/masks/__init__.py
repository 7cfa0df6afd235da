"""Masks onto a frame's pixels."""
