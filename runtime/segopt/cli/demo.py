"""``segopt demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for all that the demo makes.")] = Path(
        "runs/demo"
    ),
    seconds: Annotated[int, typer.Option(metavar="N", help="Length of the video.", min=1, max=60)] = 6,
) -> None:
    """Export a small panoptic network, render a street video, and run the one on the other; offline."""
    from segopt.cli.steps import step
    from segopt_export.packages import need_export_packages

    need_export_packages()
    from segopt_bench.demo import run_demo

    done = run_demo(output, seconds=seconds, step=step)
    typer.echo(
        f"\n{done.frames} frames of {done.size[1]}x{done.size[0]} at {done.fps:.1f} fps: merged, drawn, written"
    )
    quality = ", ".join(f"{name} {_percent(value)}" for name, value in done.quality.items())
    typer.echo(f"against the ground truth of every frame: {quality}")
    for what, path in done.files.items():
        typer.echo(f"{what}: {path}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
