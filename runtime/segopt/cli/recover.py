"""``segopt recover``: what a killed run or a power cut left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def recover(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Output folder, or one above several.", show_default=False)
    ],
) -> None:
    """Complete the videos and JSON files of runs that were killed, and remove their temporary files.

    A folder that a living run writes to is left alone.
    """
    from segopt.errors import SinkError
    from segopt.sinks.recovery import recover_below

    if not folder.is_dir():
        raise SinkError(f"{folder}: is no folder; give the folder that a run wrote to")
    recovery = recover_below(folder)
    for file in recovery.files:
        typer.echo(f"recovered: {file}")
    for reason in recovery.skipped:
        typer.echo(f"left alone: {reason}")
    typer.echo(f"{folder}: {recovery.swept or 'no'} temporary file{'' if recovery.swept == 1 else 's'} removed")
