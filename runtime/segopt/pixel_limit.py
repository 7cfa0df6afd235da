"""A limit on the pixels of a picture, known from its header before memory is taken for it."""

from __future__ import annotations

import os

from segopt.errors import UsageError

VARIABLE = "SEGOPT_MAX_PIXELS"
"""Environment variable: how many pixels a picture, a video's frame or an annotation may have."""

DEFAULT = 178_956_970
"""Half a gigabyte of BGR, and Pillow's own limit."""


def max_pixels() -> int:
    """How many pixels a picture may have.

    Raises:
        UsageError: the environment variable is no whole number above 0.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return DEFAULT
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and int(text)):
        raise UsageError(f"{VARIABLE} is {text[:40]!r}, and must be a whole number above 0, or not set")
    return int(text)


def hand_to_opencv() -> None:
    """Let OpenCV, which reads its own limit once, when it is loaded, take this one."""
    text = os.environ.get(VARIABLE) or str(DEFAULT)
    if text.isascii() and text.isdecimal():
        os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", text)


def too_large(height: int, width: int) -> str | None:
    """What is wrong with a picture of this size, to follow its name; None where it is within the limit.

    >>> too_large(480, 640)
    >>> too_large(30000, 30000)
    'has 30000x30000 pixels, and the limit is 178956970; set SEGOPT_MAX_PIXELS=900000000 if you trust it'
    """
    if height * width <= max_pixels():
        return None
    return (
        f"has {width}x{height} pixels, and the limit is {max_pixels()}; set {VARIABLE}={height * width} if you "
        "trust it"
    )
