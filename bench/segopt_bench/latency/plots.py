"""A benchmark's plots, drawn with matplotlib."""

from __future__ import annotations

import importlib.util
import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segopt.errors import SegoptError
from segopt_bench.latency.report import GroupReport
from segopt_bench.latency.rounds import Measured
from segopt_bench.reporting.stages import STAGES
from segopt_bench.reporting.tables import milliseconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAGE_COLORS = {"letterbox": "#9aa5b1", "network": "#2f6db3", "decode": "#e3a72f", "merge": "#c8553d"}
INK, FAINT = "#2b2f36", "#d9dde2"
_WIDTH = 9.0
"""Inches."""
_LABEL = 30
_TITLE = 100
"""Characters in a line."""


def need_matplotlib(option: str) -> None:
    """Raise a SegoptError where plots cannot be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SegoptError(f"{option} draws with matplotlib, which is not installed: pip install 'segopt[bench]'")


def stages_png(group: GroupReport) -> bytes:
    """A bar for each contender, of its stages' medians."""
    figure, axes = _figure(group.measured, group.title)
    for row, measured in enumerate(group.measured):
        left = 0.0
        for name in STAGES:
            width = measured.stage(name).median
            label = name if row == 0 else None
            axes.barh(row, width, left=left, height=0.62, color=STAGE_COLORS[name], label=label)
            left += width
        text = f"{milliseconds(measured.total.median)} ms"
        if measured is not group.baseline:
            text += f"   {measured.times_as_fast_as(group.baseline).median:.2f} times as fast"
        axes.text(left, row, f"  {text}", va="center", ha="left", color=INK, fontsize=10)
    axes.set_xlim(0, 1.32 * max(sum(m.stage(name).median for name in STAGES) for m in group.measured))
    axes.set_xlabel("milliseconds a frame, medians of the stages")
    figure.legend(loc="outside lower center", ncols=len(STAGES), frameon=False, fontsize=9)
    return _png(figure)


def distribution_png(group: GroupReport) -> bytes:
    """A dot for each round, with median and the range from 5% to 95%."""
    figure, axes = _figure(group.measured, group.title)
    scatter = np.random.default_rng(0)
    for row, measured in enumerate(group.measured):
        values = [timing.total for timing in measured.timings]
        height = row + scatter.uniform(-0.2, 0.2, len(values))
        axes.scatter(values, height, s=16, color=STAGE_COLORS["network"], alpha=0.45, linewidths=0)
        total = measured.total
        axes.plot([total.p5, total.p95], [row, row], color=INK, linewidth=1.2)
        axes.plot([total.median] * 2, [row - 0.32, row + 0.32], color=INK, linewidth=2.2)
        label = f"{milliseconds(total.median)} ms"
        axes.text(total.median, row - 0.38, label, va="bottom", ha="center", fontsize=9, color=INK)
    axes.set_xlim(left=0)
    axes.set_xlabel("milliseconds a frame: a dot is a round, the bars are median and 5% to 95%")
    return _png(figure)


def _figure(rows: Sequence[Measured], title: str) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 1.7 + 0.62 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    figure.suptitle("\n".join(textwrap.wrap(title, _TITLE)), x=0.01, ha="left", fontsize=11, color=INK)
    axes.set_yticks(range(len(rows)), [_label(measured.name) for measured in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.45, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", color=FAINT, labelsize=9)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    return figure, axes


def _label(name: str) -> str:
    lines = name.replace(" (", "\n(").splitlines()
    return "\n".join(part for line in lines for part in textwrap.wrap(line, _LABEL))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    return buffer.getvalue()
