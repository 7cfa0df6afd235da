"""Text files that name sources, as ``@FILE`` on a command line."""

from __future__ import annotations

from pathlib import Path

from segopt.errors import UsageError


def listed(path: Path, *, errors: str = "strict") -> list[str]:
    """The sources that a file names, one a line; empty lines and those after ``#`` are none.

    Args:
        path: of the file, UTF-8.
        errors: what becomes of other bytes, see :meth:`bytes.decode`.

    Raises:
        UsageError: it cannot be read, or names none.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors=errors).splitlines()
    except OSError as error:
        raise UsageError(f"@{path}: cannot be read ({error.strerror}); name a text file of sources") from None
    except UnicodeDecodeError:
        raise UsageError(f"@{path}: is no text file; write one source a line") from None
    found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise UsageError(f"@{path}: names no source; write one a line")
    return found
