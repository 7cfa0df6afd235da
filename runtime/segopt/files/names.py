"""Parts of file names."""

from __future__ import annotations

import re


def slug(text: str) -> str:
    """A text as a part of a file's name: its letters, digits and dots, with dashes in place of all else."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")
