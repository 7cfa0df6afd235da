"""``segopt triton``: a model repository for NVIDIA's Triton inference server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from segopt.cli.engines import ScoreThreshold, StuffArea
from segopt.cli.run import View
from segopt.errors import UsageError, printable


def triton(
    engine: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Model that `segopt export` or `segopt build` made; again for another batch.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="REPO", help="Folder to write; it must be new.", show_default=False)
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="REPO", help="Validate a repository, without a server.", show_default=False),
    ] = None,
    mode: Annotated[
        View | None, typer.Option(help="View of a panoptic model to serve.", show_default="the model's own")
    ] = None,
    score_threshold: ScoreThreshold = None,
    stuff_area: StuffArea = None,
    instances: Annotated[int, typer.Option(metavar="N", min=1, help="Of each network, at once.")] = 1,
    front_instances: Annotated[int, typer.Option(metavar="N", min=1, help="Processes that decode and merge.")] = 2,
) -> None:
    """Write a model repository that Triton serves, or check one.

    Give the network with batch 1 and with batch N: what waits decides which one runs.
    """
    if check is not None:
        if engine or output is not None:
            raise UsageError("--check takes a repository alone; leave --engine and --output out")
        _check(check)
        return
    if not engine or output is None:
        raise UsageError("triton takes --engine FILE and --output REPO, or --check REPO")
    from segopt.triton.repository import write_repository

    names = write_repository(
        engine,
        output,
        options={
            "mode": mode.value if mode else None,
            "score_threshold": score_threshold,
            "stuff_area": stuff_area,
        },
        instances=instances,
        front_instances=front_instances,
    )
    typer.echo(f"model repository: {output} ({', '.join(names)}); {output / 'README.md'} says how to serve it")


def _check(folder: Path) -> None:
    from segopt.triton.check import check_repository

    names, problems = check_repository(folder)
    for problem in problems:
        print(f"segopt: error: {printable(' '.join(problem.split()))}", file=sys.stderr)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{folder}: is in order ({', '.join(names)})")
