"""What ``segopt export`` and ``segopt wrap`` say of the file that they made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from segopt_export.exported import Exported


def report(made: Exported, seconds: float) -> None:
    """Print a file's inputs and outputs, the figures of its check, and the notes."""
    from rich.console import Console
    from rich.text import Text

    from segopt.model.tensors import input_specs, output_specs
    from segopt_export.exported import WARNING

    console = Console(highlight=False, soft_wrap=True)
    size = made.path.stat().st_size / 1e6
    console.print(f"\n[bold]{made.path}[/bold]  {size:.1f} MB, {made.card.precision}, {seconds:.0f} s")
    for kind, tensors in (("input", input_specs(made.card)), ("output", output_specs(made.card))):
        for name, spec in tensors.items():
            console.print(f"  {kind:<7} {name:<10} {spec.dtype!s:<8} {list(spec.shape)}", markup=False)
    for figure in made.figures:
        console.print(f"  parity  {figure.name}: {figure.text}")
    for note in made.notes:
        if note.startswith(WARNING):
            typer.secho(f"segopt: {note}", fg="red", bold=True, err=True)
        else:
            console.print(Text.assemble("  ", ("note", "yellow"), f"    {note}"))
