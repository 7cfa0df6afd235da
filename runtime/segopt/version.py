"""The one place where the version stands."""

__version__ = "0.2.0"


def version_numbers(text: str) -> tuple[int, ...]:
    """``(10, 3, 0)`` of ``10.3.0``; parts that are no numbers are left out."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())
