"""How a verb's help is laid out: common options first, those for experts on demand, examples at the end.

The verbs themselves only say what their options are. An option that no table here names is an advanced one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

PRECISION_PANEL = "Precision and speed"
ADVANCED_PANEL = "Advanced"

COMMON: Mapping[str, tuple[str, ...]] = {
    "export": ("mode", "network", "semantic", "instance", "weights", "classes", "settings", "size", "output"),
    "build": ("runtime", "output", "verify_on", "overwrite"),
    "run": ("engine", "output", "save", "track", "show", "preview", "score_threshold", "overwrite"),
    "eval": ("engine", "data", "against", "predictions", "weights", "limit", "json", "device"),
    "bench": ("engine", "data", "rounds", "plan", "cameras", "accuracy", "layers", "json", "report", "device"),
    "label": ("engine", "output", "workers", "cpus_per_worker", "gpus_per_worker", "address", "format", "track"),
    "wrap": ("classes", "kind", "family", "semantic", "instance", "size", "take", "output"),
}
"""Parameters of each verb that most people need, in the order in which help shows them."""

PRECISION: Mapping[str, tuple[str, ...]] = {
    "export": ("precision", "calibration", "int8_loss", "target", "max_detections", "proposals", "no_build"),
    "build": ("timing_cache", "workspace", "optimization_level", "tf32", "precision"),
    "run": ("device", "threads"),
    "wrap": ("precision", "calibration", "int8_loss", "target"),
    "label": ("device", "precision"),
}

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "export": (
        "segopt export --mode panoptic --weights demo",
        "segopt export --mode instance --weights mine.pth --classes names.json --size 480x640",
        "segopt export --mode semantic --network fcn_resnet50 --precision int8 --calibration pictures",
    ),
    "wrap": (
        "segopt wrap segformer.onnx --classes names.json --output stuff.onnx",
        "segopt wrap rfdetr-seg-nano.onnx --classes coco.json --family rfdetr --output things.onnx",
        "segopt wrap --semantic stuff.onnx --instance things.onnx --output panoptic.onnx",
    ),
    "build": ("segopt build street.onnx", "segopt build street.onnx --verify-on pictures --workspace 2GiB"),
    "run": (
        "segopt run --engine panoptic.onnx street.mp4 --track",
        "segopt run --engine panoptic.onnx pictures --save overlay,panoptic,coco --output out",
        "segopt run --engine panoptic.plan rtsp://camera/street --preview 8080 --save none",
    ),
    "recover": ("segopt recover runs/street",),
    "info": ("segopt info panoptic.onnx", "segopt info panoptic.onnx --json | jq .canvas"),
    "eval": (
        "segopt eval --engine panoptic.onnx --data scenes --against torch",
        "segopt eval --engine int8.onnx --data coco --against fp32.onnx --limit 500",
    ),
    "bench": (
        "segopt bench --engine panoptic.onnx",
        "segopt bench --engine panoptic.onnx int8.onnx --plan --cameras 6 --data street.mp4",
        "segopt bench --engine engines/*.onnx --accuracy --report out",
    ),
    "label": (
        "segopt label --engine panoptic.onnx videos --output labels",
        "segopt label --engine panoptic.onnx @list.txt --output labels --workers 8 --track",
    ),
    "triton": (
        "segopt triton --engine panoptic.plan --output models",
        "segopt triton --check models",
    ),
    "doctor": ("segopt doctor",),
    "demo": ("segopt demo", "segopt demo --seconds 2 --output /tmp/demo"),
}

FIRST_STEPS = (
    "segopt demo                                        all of it, offline",
    "segopt export --mode instance --weights mine.pth   your network as one file",
    "segopt run --engine engines/FILE.onnx street.mp4   the file on a video",
    "segopt run --help                                  what a verb takes",
)

_BRIEF_FROM = 14
"""Verbs with fewer parameters show all of them."""


class Program(TyperGroup):
    """The command whose help ends in first steps."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        super().format_help(ctx, formatter)
        _print_examples(formatter, "To begin with", FIRST_STEPS)


class Verb(TyperCommand):
    """A command whose help fits a screen; ``--help-all`` shows the rest."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        self._brief = False
        common, precision = COMMON.get(self.name or "", ()), PRECISION.get(self.name or "", ())
        if not common:
            return
        order = {each: i for i, each in enumerate((*common, *precision))}
        self.params.sort(key=lambda each: order.get(each.name or "", len(order)))
        options = [each for each in self.params if isinstance(each, TyperOption)]
        for option in options:
            if option.name not in common:
                option.rich_help_panel = PRECISION_PANEL if option.name in precision else ADVANCED_PANEL
        advanced = [each for each in options if each.rich_help_panel == ADVANCED_PANEL]
        self._brief = len(options) >= _BRIEF_FROM
        if self._brief:
            self.params.append(_help_all(len(advanced)))

    def format_help(self, ctx: Any, formatter: Any, *, brief: bool | None = None) -> None:
        """Write the help; without advanced options unless ``brief`` is False."""
        hidden = []
        if self._brief if brief is None else brief:
            hidden = [each for each in self.params if getattr(each, "rich_help_panel", None) == ADVANCED_PANEL]
        for option in hidden:
            option.hidden = True  # type: ignore[attr-defined]
        try:
            super().format_help(ctx, formatter)
        finally:
            for option in hidden:
                option.hidden = False  # type: ignore[attr-defined]
        _print_examples(formatter, "Examples", EXAMPLES.get(self.name or "", ()))


def _print_examples(formatter: Any, title: str, examples: Sequence[str]) -> None:
    """Write examples under the help, each on a line of its own, to be copied as it is."""
    if examples:
        # Rich has printed the rest already, where it is there; else it is in the formatter.
        lines = "\n".join(f"   {each}" for each in examples)
        text = f" {title}:\n{lines}\n"
        if formatter.getvalue():
            formatter.write(f"\n{text}")
        else:
            typer.echo(text)


def _help_all(count: int) -> Any:
    """The option, made by typer itself, whose classes differ from release to release."""

    def template(help_all: bool = False) -> None:
        pass

    template.__annotations__["help_all"] = Annotated[
        bool, typer.Option("--help-all", is_eager=True, callback=_print_all, help=f"Show {count} more options.")
    ]
    app = typer.Typer(add_completion=False)
    app.command()(template)
    option: Any = next(each for each in typer.main.get_command(app).params if each.name == "help_all")
    option.expose_value = False
    return option


def _print_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        formatter = ctx.make_formatter()
        command: Any = ctx.command
        command.format_help(ctx, formatter, brief=False)
        typer.echo(formatter.getvalue(), nl=False)
        raise typer.Exit
