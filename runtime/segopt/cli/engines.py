"""The model that a command runs: a file, or the file of a model folder that fits this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_ENGINE = typer.Option(
    metavar="FILE|DIR",
    help="Model that `segopt export` or `segopt build` made, or a folder of one model's files.",
    show_default=False,
)
Engine = Annotated[Path, _ENGINE]
SomeEngine = Annotated[Path | None, _ENGINE]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="fp32|fp16|int8", help="Of a model folder: which files.", show_default="the folder's own"
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="CPU threads of the network; a plan needs none.",
        show_default="one for each core",
    ),
]
InferencePrecision = Annotated[
    str | None,
    typer.Option(
        metavar="f32|bf16",
        help="OpenVINO: bf16 computes what is half in an fp16 file in bf16, on CPUs that have it.",
        show_default="f32",
    ),
]

ScoreThreshold = Annotated[
    float | None,
    typer.Option(metavar="0..1", help="Lowest score of an object.", show_default="the model's own"),
]
StuffArea = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Panoptic: smallest region of stuff, in pixels of the frame.",
        show_default="the model's own",
    ),
]


def take(engine: Path, device: str, precision: str | None = None) -> Path:
    """The file to load; of a folder it says which one was taken, and why.

    Raises:
        CardError: as :func:`segopt.model_folder.choose`; so the other two.
        EngineError: no file of that precision runs here.
        UsageError: the precision is not told, or there is none of it.
    """
    if not engine.is_dir():
        return engine
    from segopt.model_folder import choose

    chosen = choose(engine, device, precision)
    typer.echo(f"model: {chosen.candidate.path} ({chosen.reason})")
    return chosen.candidate.path
