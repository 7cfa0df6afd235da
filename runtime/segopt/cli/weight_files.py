"""Options of the commands that run the PyTorch network beside the model: its weights, where files had them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SemanticWeights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Panoptic: weights of the semantic network.")
]
InstanceWeights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Panoptic: weights of the instance network.")
]


def weight_files(weights: Path | None, semantic: Path | None, instance: Path | None) -> dict[str, Path]:
    """The files that were given, by branch; ``weights`` is for every branch that has none of its own."""
    files = {"panoptic": weights, "semantic": semantic or weights, "instance": instance or weights}
    return {branch: file for branch, file in files.items() if file}
