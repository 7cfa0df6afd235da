"""A benchmark as a Markdown page with plots beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from segopt.errors import UsageError
from segopt.files.atomic import check_new, make_folder, write_bytes, write_json
from segopt.model.card import Mode
from segopt_bench.latency.contenders import group_engines
from segopt_bench.latency.report import GroupReport, Report
from segopt_bench.latency.tables import latency_table, layer_tables, stages_table
from segopt_bench.reporting.machine import UNKNOWN, Machine
from segopt_bench.reporting.stages import STAGES, TIMED_REGION
from segopt_bench.reporting.tables import Table

PAGE, DATA = "report.md", "report.json"


def check_report(folder: Path, engines: Sequence[Path], json: Path | None, *, overwrite: bool) -> None:
    """Find out before the work whether a report would replace a file.

    Args:
        folder: of the report.
        engines: that it will be of.
        json: another file that the figures go to, if any.
        overwrite: an earlier report may be replaced.

    Raises:
        CardError, UsageError: as of :func:`segopt_bench.latency.contenders.group_engines`; or the other file is
            one of the report's.
        SinkError: one of its files is there, and is not to be overwritten.
    """
    modes = [group.card.mode for group in group_engines(engines)]
    files = [folder / name for name in (PAGE, DATA, *(name for names in _plot_names(modes) for name in names))]
    for path in files:
        check_new(path, overwrite=overwrite)
        if json is not None and json.resolve() == path.resolve():
            raise UsageError(f"--json {json}: is a file of --report; give the one or the other another name")


def write_report(folder: Path, report: Report, *, overwrite: bool = True) -> Path:
    """Write ``report.md``, its plots and ``report.json`` to a folder.

    Returns:
        Path of the page.

    Raises:
        SinkError: something cannot be written, or is there and is not to be overwritten.
    """
    from segopt_bench.latency.plots import distribution_png, stages_png

    make_folder(folder)
    plots = _plot_names([group.card.mode for group in report.groups])
    for group, (stages, distribution) in zip(report.groups, plots, strict=True):
        write_bytes(folder / stages, stages_png(group), overwrite=overwrite)
        write_bytes(folder / distribution, distribution_png(group), overwrite=overwrite)
    write_json(folder / DATA, report.to_json(), overwrite=overwrite)
    page = folder / PAGE
    write_bytes(page, render(report, plots).encode(), overwrite=overwrite)
    return page


def _plot_names(modes: Iterable[Mode]) -> list[tuple[str, str]]:
    """File names of each group's stages and distribution."""
    return [(f"{mode}-{i}-stages.png", f"{mode}-{i}-distribution.png") for i, mode in enumerate(modes, start=1)]


def render(report: Report, plots: Iterable[tuple[str, str]]) -> str:
    """The page; ``plots`` are the file names of each group's stages and distribution."""
    blocks = ["# Latency", *_conditions_first(report)]
    for group, names in zip(report.groups, plots, strict=True):
        blocks += _group(group, names)
    blocks += _how(report)
    return "\n\n".join(blocks) + "\n"


def _conditions_first(report: Report) -> list[str]:
    summary = f"{report.machine.cpu}, {report.machine.cores} cores"
    summary += f"; {report.machine.gpu}" if report.machine.gpu else ""
    blocks = [
        f"{summary}. Medians of {report.rounds} rounds in which everybody took a turn on the same picture "
        f"({report.pictures}), {TIMED_REGION}."
    ]
    return blocks + [f"> **Doubtful:** {warning}" for warning in report.warnings]


def _group(group: GroupReport, plots: tuple[str, str]) -> list[str]:
    stages, distribution = plots
    blocks = [f"## {group.title}", f"Pictures of {group.fit}.", _table(latency_table(group))]
    blocks += [f"{missing.name} is not in the table: {missing.reason}." for missing in group.missing]
    blocks += [f"*{note}.*" for note in group.notes]
    blocks += [f"![Milliseconds by stage]({stages})", _table(stages_table(group))]
    blocks += [f"![Milliseconds of each round]({distribution})"]
    for name, profile in group.layers.items():
        for table in layer_tables(name, profile):
            blocks += [f"### {table.title}", _table(table)]
    return blocks


def _how(report: Report) -> list[str]:
    stages = "\n".join(f"- *{name}*: {meaning}." for name, meaning in STAGES.items())
    return [
        "## How it was measured",
        f"{report.warmup} rounds of warm-up, then {report.rounds} that count. In each round everybody gets the "
        "same picture once, and who begins changes. *Times as fast* is the median of the rounds' own ratios, in "
        "brackets their 5th and 95th percentile. *Same pixels* is the share of pixels that get the same class as "
        "from the first row.",
        "The timed region goes through these stages:\n\n" + stages,
        "PyTorch eager is torchvision's own forward, with the pictures as `to_tensor` makes them; it pastes every "
        "mask that its detector returns onto a plane of the frame's size, and panoptic merging is Detectron2's on "
        "those planes.",
        "## The machine",
        _table(_machine_table(report.machine, report.conditions.items())),
    ]


def _machine_table(machine: Machine, conditions: Iterable[tuple[str, str]]) -> Table:
    memory = UNKNOWN if machine.memory_gib is None else f"{machine.memory_gib:.1f} GiB"
    rows = [
        ("CPU", machine.cpu),
        ("cores", f"{machine.cores}" + (f", limited to {machine.cpu_limit}" if machine.cpu_limit else "")),
        ("memory", memory),
        ("GPU", machine.gpu or UNKNOWN),
        ("system", machine.system),
        ("software", ", ".join(f"{name} {version}" for name, version in machine.versions.items())),
        *conditions,
    ]
    return Table("", ("", ""), tuple(rows), names=2)


def _table(table: Table) -> str:
    rule = ["---"] * table.names + ["---:"] * (len(table.header) - table.names)
    lines = [table.header, tuple(rule), *table.rows]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
