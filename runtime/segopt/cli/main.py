"""The ``segopt`` command: its verbs, and how errors reach the person at the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from segopt.errors import SegoptError, UsageError
from segopt.native_library import missing_library
from segopt.version import __version__

VERBS = ("export", "build", "run", "info", "eval", "bench", "doctor", "demo")
"""Each is a function in the module of ``segopt.cli`` that has its name."""

# typer carries its own copy of click from 0.26 on, so click's base classes are reached through typer.
_CommandLineError: Any = typer.BadParameter.__mro__[2]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"segopt {__version__}")
        raise typer.Exit


def make_app(verbs: Iterable[str] = VERBS) -> typer.Typer:
    """The command with these verbs."""
    app = typer.Typer(
        name="segopt",
        help="Deploy torchvision segmentation networks on edge GPUs: export, build, run, inspect.",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for verb in verbs:
        app.command()(getattr(import_module(f"segopt.cli.{verb}"), verb))
    return app


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; exit with 0, 1 (an error), 2 (wrong usage) or 130 (interrupted)."""
    sys.exit(_run())


def _run() -> int:
    arguments = sys.argv[1:] or ["--help"]
    try:
        status = make_app(_needed(arguments))(arguments, prog_name="segopt", standalone_mode=False)
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        print("segopt: interrupted", file=sys.stderr)
        return 130
    except UsageError as error:
        return _fail(str(error), 2)
    except SegoptError as error:
        return _fail(str(error), 1)
    except _CommandLineError as error:
        return _fail(_usage_message(error), 2)
    except BrokenPipeError:
        # The reader (`segopt info FILE | head`) has seen enough; keep Python from flushing into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, OSError) as error:
        if (missing := missing_library(error)) is None:
            raise
        return _fail(missing, 1)
    return status if isinstance(status, int) else 0


def _needed(arguments: Sequence[str]) -> tuple[str, ...]:
    """The verb that is asked for. Making the others as well would take 0.1 s of a run's start."""
    return tuple(arguments[:1]) if arguments[0] in VERBS else VERBS


def _usage_message(error: Any) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "segopt"
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


def _fail(message: str, status: int) -> int:
    print(f"segopt: error: {' '.join(message.split())}", file=sys.stderr)
    return status
