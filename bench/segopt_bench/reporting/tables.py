"""Tables of figures, and how figures are written."""

from __future__ import annotations

from dataclasses import dataclass

from segopt_bench.reporting.spread import Spread

NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header. The first ``names`` columns are names, the others are figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1


def milliseconds(value: float) -> str:
    """Three significant digits."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def spread(value: Spread) -> str:
    """From where to where."""
    return f"{milliseconds(value.p5)} to {milliseconds(value.p95)}"


def ratio(value: Spread) -> str:
    """Median, and from where to where."""
    return f"{value.median:.2f} ({value.p5:.2f} to {value.p95:.2f})"


def percent(value: float | None) -> str:
    """With two digits; nothing where there is nothing."""
    return NOTHING if value is None else f"{100 * value:.2f}"
