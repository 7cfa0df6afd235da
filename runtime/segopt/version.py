"""The one place where the version stands, and those of other packages."""

from __future__ import annotations

__version__ = "0.2.0"


def installed_version(distribution: str) -> str | None:
    """Version of a pip package by its metadata, or None; nothing is imported."""
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def version_numbers(text: str) -> tuple[int, ...]:
    """``(10, 3, 0)`` of ``10.3.0``; parts that are no numbers are left out."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())
