"""Plots of how cost grows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from segopt_bench.footprint.process import Usage
from segopt_bench.latency.plots import FAINT, INK, STAGE_COLORS
from segopt_bench.reporting.stages import STAGES
from segopt_bench.scale.axes import Cost

_MIB = 2**20


def costs_png(costs: Sequence[Cost]) -> bytes:
    """Stages over each axis, one above the other."""
    axes_names = list(dict.fromkeys(cost.variant.axis for cost in costs))
    figure, subplots = _figure(1, len(axes_names), (3.6 * len(axes_names), 3.4))
    for plot, name in zip(subplots, axes_names, strict=True):
        on_axis = [cost for cost in costs if cost.variant.axis == name]
        amounts = [cost.variant.amount for cost in on_axis]
        heights = [[cost.stages[stage].median for cost in on_axis] for stage in STAGES]
        plot.stackplot(amounts, heights, colors=[STAGE_COLORS[stage] for stage in STAGES], labels=list(STAGES))
        plot.set_xticks(amounts, [cost.variant.label for cost in on_axis], fontsize=8)
        plot.set_xlim(amounts[0], amounts[-1])
        plot.set_ylim(bottom=0)
        plot.set_xlabel(name, color=INK)
    subplots[0].set_ylabel("milliseconds a frame", color=INK)
    handles, labels = subplots[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(STAGES), frameon=False, fontsize=9)
    return _png(figure)


def memory_png(usage: Usage, frames: int) -> bytes:
    """Memory over a long video."""
    figure, (plot,) = _figure(1, 1, (8.0, 2.8))
    seconds, held = zip(*usage.samples, strict=True)
    plot.plot(seconds, [value / _MIB for value in held], color=STAGE_COLORS["network"], linewidth=1.4)
    plot.set_ylim(0, 1.15 * usage.peak_bytes / _MIB)
    plot.set_xlim(0, seconds[-1])
    plot.set_ylabel("MiB", color=INK)
    plot.set_xlabel(f"seconds: {frames} frames", color=INK)
    return _png(figure)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    subplots = figure.subplots(rows, columns, squeeze=False)[0]
    for plot in subplots:
        plot.grid(axis="y", color=FAINT, linewidth=0.7)
        plot.set_axisbelow(True)
        plot.tick_params(color=FAINT, labelsize=8)
        for side in ("top", "right"):
            plot.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            plot.spines[side].set_color(FAINT)
    return figure, subplots


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    return buffer.getvalue()
