"""What the verbs that quantize ask for."""

from __future__ import annotations

from typing import Annotated

import typer

Int8Loss = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="int8: how much agreement may be lost; the layers that save most time within it are taken.",
        show_default="each layer is left out that adds more than 0.1% of noise",
    ),
]
