"""A benchmark's tables, as rows of text for the screen and for Markdown."""

from __future__ import annotations

from segopt_bench.latency.layers import LayerProfile
from segopt_bench.latency.report import GroupReport
from segopt_bench.latency.rounds import Measured
from segopt_bench.reporting.stages import STAGES
from segopt_bench.reporting.tables import NOTHING, Table, milliseconds, percent, ratio, spread

_OPERATORS = 8


def latency_table(group: GroupReport) -> Table:
    """Who took how long from frame to result, against the baseline, and how right it was."""
    figures = list(dict.fromkeys(name for row in group.accuracy.values() for name in row))
    many = len(group.measured) > 1
    header = ["", "ms a frame", "5% to 95%"]
    header += ["times as fast"] if many else []
    header += ["same pixels"] if many else []
    header += figures

    def row(measured: Measured) -> tuple[str, ...]:
        cells = [measured.name, milliseconds(measured.total.median), spread(measured.total)]
        if many:
            first = measured is group.baseline
            cells.append("1" if first else ratio(measured.times_as_fast_as(group.baseline)))
            cells.append(NOTHING if measured.agreement is None else f"{measured.agreement:.2%}")
        accuracy = group.accuracy.get(measured.name, {})
        return (*cells, *(percent(accuracy.get(name)) for name in figures))

    return Table(group.title, tuple(header), tuple(map(row, group.measured)))


def stages_table(group: GroupReport) -> Table:
    """Medians of the stages."""
    header = ("", *STAGES, "in all", "draw", _objects_title(group))
    rows = tuple(
        (
            measured.name,
            *(milliseconds(measured.stage(name).median) for name in STAGES),
            milliseconds(measured.total.median),
            milliseconds(measured.draw.median),
            f"{measured.objects.median:.0f}",
        )
        for measured in group.measured
    )
    return Table("ms a frame by stage, medians; drawing comes on top", header, rows)


def layer_tables(name: str, profile: LayerProfile) -> list[Table]:
    """The slowest operators and nodes of an engine."""
    operators = tuple(
        (share.name, f"{share.calls:.0f}", milliseconds(share.milliseconds), f"{share.share:.1%}")
        for share in profile.operators[:_OPERATORS]
    )
    nodes = tuple(
        (share.name, share.operator, milliseconds(share.milliseconds), f"{share.share:.1%}")
        for share in profile.nodes
    )
    title = f"{name}: {milliseconds(profile.milliseconds)} ms in all nodes"
    return [
        Table(f"{title}, by operator", ("operator", "nodes", "ms", "share"), operators),
        Table("slowest nodes", ("node", "operator", "ms", "share"), nodes, names=2),
    ]


def _objects_title(group: GroupReport) -> str:
    return {"semantic": "classes", "instance": "objects", "panoptic": "segments"}[group.card.mode]
