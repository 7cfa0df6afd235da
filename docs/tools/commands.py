"""The reference of the command line, written from the program itself."""

from __future__ import annotations

import inspect
import re
from typing import Any

import typer

from segopt.cli.help import EXAMPLES
from segopt.cli.main import VERBS, make_app


def describe_commands() -> str:
    """A section in Markdown for each verb: what it does, its options by panel, and examples."""
    commands: dict[str, Any] = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined]
    return "\n\n".join(_section(verb, commands[verb]) for verb in VERBS)


def _section(verb: str, command: Any) -> str:
    context = command.make_context(verb, [], resilient_parsing=True)
    usage = " ".join(("segopt", verb, *command.collect_usage_pieces(context)))
    parts = [f"## segopt {verb}", inspect.cleandoc(command.help or ""), f"```\n{usage}\n```"]
    panels: dict[str, list[Any]] = {}
    for each in command.get_params(context):
        if each.name not in ("help", "help_all"):
            panel = getattr(each, "rich_help_panel", None) or (
                "Options" if each.opts[0][0] == "-" else "Arguments"
            )
            panels.setdefault(panel, []).append(each)
    for panel in sorted(panels, key=lambda name: (name != "Arguments", name == "Advanced")):
        rows = [_row(each, context) for each in panels[panel]]
        parts.append("\n".join([f"| {panel.lower()} | value | |", "|---|---|---|", *rows]))
    if verb in EXAMPLES:
        parts.append("```\n" + "\n".join(EXAMPLES[verb]) + "\n```")
    return "\n\n".join(parts)


def _row(each: Any, context: Any) -> str:
    value = _value(each, context)
    flag = value.lower() in ("bool", "boolean")
    if each.opts[0][0] != "-":
        name, value = value, ""
    else:
        name, value = ", ".join((*each.opts, *each.secondary_opts)), "" if flag else value
    shown = getattr(each, "show_default", None)
    default = shown if isinstance(shown, str) else each.default if shown and not flag else None
    tail = " **Required.**" if each.required else f" Default: {default}." if default not in (None, "", ()) else ""
    return f"| {_code(name)} | {_code(value)} | {_text(each.help or '')}{tail} |"


def _value(each: Any, context: Any) -> str:
    """What help shows as the value of an option: typer's own classes and click's name it differently."""
    if each.metavar:
        return str(each.metavar)
    describe = getattr(each, "display_type", None) or each.make_metavar
    return str(describe(context)).removeprefix("<").removesuffix(">")


def _code(text: str) -> str:
    """In a table a bar within backticks would end the cell."""
    return f'<code class="option">{text.replace("|", "&#124;").replace("<", "&lt;")}</code>' if text else ""


def _text(text: str) -> str:
    return re.sub(r"<([^>`]*)>", r"&lt;\1&gt;", text.replace("|", "&#124;").replace("*", r"\*"))
