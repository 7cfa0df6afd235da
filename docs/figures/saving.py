"""What the figures have in common."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("Agg")
mpl.rcParams.update({"font.size": 9, "figure.facecolor": "white", "savefig.dpi": 110})

INSIDE, PALE, EDGE, BEGIN, END = "#4878b0", "#fdf3d0", "#c44e52", "#2e8b57", "#c44e52"
"""Colors: the object, a square of interest, the outline, where a run begins, where it ends."""


def save(figure: Figure, name: str) -> None:
    """Write a figure to ``docs/figures/NAME.png``."""
    path = Path(__file__).with_name(f"{name}.png")
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    print(path)
